import { useState } from 'preact/hooks';
import { ApiError, describe } from '../api/api-error.ts';
import { signedOutBecause, signIn } from '../state/session.ts';
import { TextField } from '../ui/field.tsx';

export function SignInPage() {
  const [key, setKey] = useState('');
  const [problem, setProblem] = useState('');
  const [busy, setBusy] = useState(false);
  const submit = async (event: Event) => {
    event.preventDefault();
    if (key.trim() === '' || busy) return;
    setBusy(true);
    setProblem('');
    try {
      await signIn(key.trim());
    } catch (error) {
      const wrong = error instanceof ApiError && error.status === 401;
      setProblem(wrong ? 'That is not a key of this service, or it is no longer valid.' : describe(error));
      setBusy(false);
    }
  };
  return (
    <main class="door">
      <form onSubmit={submit} class="stack" aria-labelledby="door-title">
        <img src="/icon.svg" width="48" height="48" alt="" />
        <h1 id="door-title">Teremok</h1>
        <p class="muted">{signedOutBecause.value || 'Virtual machines that run anywhere.'}</p>
        <TextField
          label="API key"
          type="password"
          value={key}
          onInput={setKey}
          autocomplete="current-password"
          autofocus
          mono
          problem={problem}
          note="On the machine of the service the first one is in default.key, the operator’s in operator.key."
        />
        <button type="submit" class="primary" disabled={busy || key.trim() === ''}>
          {busy ? 'Signing in…' : 'Sign in'}
        </button>
      </form>
    </main>
  );
}
