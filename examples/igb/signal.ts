/** A wake-up: interrupts notify, one waiter at a time waits with a limit. */
export class Signal {
  private waiter: ((notified: boolean) => void) | undefined;
  private timer: NodeJS.Timeout | undefined;
  private notified = false;

  /** Wake the waiter, or let the next one pass at once. */
  notify(): void {
    if (this.waiter) this.settle(true);
    else this.notified = true;
  }

  /** True when notified, false after `milliseconds` without. */
  wait(milliseconds: number): Promise<boolean> {
    if (this.notified) {
      this.notified = false;
      return Promise.resolve(true);
    }
    return new Promise((resolve) => {
      this.waiter = resolve;
      this.timer = setTimeout(() => this.settle(false), milliseconds);
    });
  }

  private settle(notified: boolean): void {
    clearTimeout(this.timer);
    const waiter = this.waiter;
    this.waiter = undefined;
    waiter?.(notified);
  }
}
