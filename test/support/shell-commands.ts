/** BusyBox asks the terminal where its cursor is. */
const PROMPT = '~ # (?:\\x1b\\[6n)?';

/** BusyBox's line editor takes 1023 characters (FEATURE_EDITING_MAX_LEN in Debian's build). */
const LONGEST_LINE = 1000;

export interface CommandResult {
  /** What the command printed, without carriage returns. */
  readonly output: string;
  readonly status: number;
}

/** The shell of an image of ours on a serial line: types commands and finds their answers in what comes back. */
export class ShellCommands {
  readonly #type: (text: string) => void;
  readonly #ended: Promise<string>;
  #output = '';
  #printed = (): void => {};
  #commands = 0;

  /**
   * @param type sends text to the serial line
   * @param ended resolves when nothing more will come, with why
   */
  constructor(type: (text: string) => void, ended: Promise<string>) {
    this.#type = type;
    this.#ended = ended;
  }

  /** All that the guest printed. */
  get output(): string {
    return this.#output;
  }

  /** To be called with what the guest prints, one character a byte. */
  hear(text: string): void {
    this.#output += text;
    this.#printed();
  }

  /** Types without waiting for anything. */
  type(text: string): void {
    this.#type(text);
  }

  /** Waits until `find`, called whenever something came, finds something. Throws when the guest ends before. */
  async #until<T>(find: () => T | undefined, what: string): Promise<T> {
    for (;;) {
      const found = find();
      if (found !== undefined) return found;
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#printed = resolve;
      const ended = await Promise.race([promise, this.#ended]);
      if (ended !== undefined)
        throw new Error(`the machine ended (${ended}) before ${what}; last: ${this.#output.slice(-500)}`);
    }
  }

  /** Waits for the first prompt. */
  async prompt(): Promise<void> {
    const prompt = new RegExp(`${PROMPT}$`);
    await this.#until(() => prompt.exec(this.#output.slice(-20)) ?? undefined, 'its prompt');
  }

  /** Runs a command; what it printed and its exit status. */
  async try(command: string): Promise<CommandResult> {
    this.#commands += 1;
    const n = this.#commands;
    const begin = `begin-${n}=`;
    const done = `done-${n}=`;
    const end = new RegExp(`^${done}(\\d+)=\\r?\\n[^]*${PROMPT}$`);
    // Of long outputs, only what is new is looked at.
    let from = this.#output.length;
    const find = (text: string): number | undefined => {
      const at = this.#output.indexOf(text, from);
      from = at < 0 ? Math.max(from, this.#output.length - text.length) : at;
      return at < 0 ? undefined : at;
    };
    // The quotes keep the echo of the line from looking like what it prints.
    const line = `echo "be""gin-${n}="; ${command}; echo "do""ne-${n}=$?="`;
    if (line.length > LONGEST_LINE) throw new RangeError(`too long for the shell: ${line}`);
    this.type(`${line}\n`);
    const start = await this.#until(() => find(begin), command);
    const stop = await this.#until(() => find(done), command);
    const [, status] = await this.#until(() => end.exec(this.#output.slice(stop)) ?? undefined, command);
    const output = this.#output.slice(start + begin.length, stop).replaceAll('\r', '');
    return { output: output.replace(/^\n/, ''), status: Number(status) };
  }

  /** Runs a command that has to succeed; what it printed. */
  async run(command: string): Promise<string> {
    const { output, status } = await this.try(command);
    if (status !== 0) throw new Error(`${command}: status ${status}: ${output}`);
    return output;
  }
}
