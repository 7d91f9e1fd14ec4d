// Stands for an API process that cannot start.
console.error('the port is taken');
process.exitCode = 4;
