// Before the first paint: the scheme that was chosen here earlier, so that nothing flashes.
try {
  const scheme = localStorage.getItem('teremok.scheme');
  if (scheme === 'light' || scheme === 'dark') document.documentElement.dataset.scheme = scheme;
} catch {
  // A browser that keeps nothing follows the system.
}
