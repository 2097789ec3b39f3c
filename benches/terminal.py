#!/usr/bin/env python3
"""What the inspector costs on a terminal: bytes of frames and steps, time from a key to the screen, processor time at rest.

    python benches/terminal.py --program target/release/psescope [--size 200x60] [--keys 40]

Runs the program in a pseudo-terminal on the bundled model with `--graphics blocks`; needs nothing but Python on a Unix system. The time from a
key to the screen is taken while an attack runs, from writing the key to the end of the first frame (synchronized update) that shows the
other screen. Processor time is that of the whole process, all threads, while nothing is asked of it.
"""

import argparse
import fcntl
import os
import pty
import select
import statistics
import struct
import tempfile
import termios
import time

BEGIN, END = b"\x1b[?2026h", b"\x1b[?2026l"


class Terminal:
    """A program in a pseudo-terminal, and every byte it wrote."""

    def __init__(self, program, arguments, columns, rows, state):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            for name in ("NO_COLOR", "TMUX", "STY", "ZELLIJ"):
                os.environ.pop(name, None)
            os.environ.update(TERM="xterm-256color", COLORTERM="truecolor", XDG_STATE_HOME=state)
            os.execv(program, [program, *arguments])
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.data = bytearray()

    def read(self, seconds):
        """Reads for so long; whether anything came."""
        before, end = len(self.data), time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not select.select([self.fd], [], [], left)[0]:
                break
            try:
                self.data += os.read(self.fd, 1 << 16)
            except OSError:
                break
        return len(self.data) > before

    def until(self, text, since=0, seconds=120):
        """Reads until the text was written, then to the end of its frame; the place after it."""
        end = time.monotonic() + seconds
        while True:
            at = self.data.find(text, since)
            done = self.data.find(END, at) if at >= 0 else -1
            if done >= 0:
                return done + len(END)
            if time.monotonic() > end:
                raise SystemExit(f"never written: {text!r}")
            ready = select.select([self.fd], [], [], 0.2)[0]
            if ready:
                self.data += os.read(self.fd, 1 << 16)

    def quiet(self):
        """Reads until nothing more comes for a while."""
        while self.read(0.7):
            pass
        return len(self.data)

    def type(self, keys):
        os.write(self.fd, keys)

    def cpu(self):
        """Processor seconds of the process so far."""
        fields = open(f"/proc/{self.pid}/stat").read().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--program", default="target/release/psescope")
    arguments.add_argument("--size", default="200x60")
    arguments.add_argument("--keys", type=int, default=40, help="keys timed while an attack runs")
    arguments.add_argument("--idle", type=float, default=20, help="seconds at rest")
    arguments.add_argument("--theme", default="terminal")
    arguments.add_argument("--color", default="true")
    given = arguments.parse_args()
    columns, rows = map(int, given.size.split("x"))
    with tempfile.TemporaryDirectory() as state:
        terminal = Terminal(os.path.abspath(given.program), ["--graphics", "blocks", "--theme", given.theme, "--color", given.color], columns, rows, state)
        terminal.until(b"giant panda")
        terminal.quiet()

        terminal.type(b" ")
        terminal.until(b"flipped at")
        at = terminal.quiet()
        terminal.type(b"\x0c")
        whole = terminal.quiet() - at
        steps = []
        for _ in range(8):
            at = terminal.quiet()
            terminal.type(b"\x1b[D")
            steps.append(terminal.quiet() - at)
        print(f"{given.size}: a whole frame {whole} bytes, a step back {min(steps)} to {max(steps)}, median {statistics.median(steps):.0f}")

        begun, cpu = time.monotonic(), terminal.cpu()
        terminal.read(given.idle)
        idle = (terminal.cpu() - cpu) / (time.monotonic() - begun)
        print(f"at rest for {given.idle:.0f} s: {100 * idle:.2f} % of a processor, {len(terminal.data) - at - steps[-1]} bytes written")

        # An attack of a thousand steps at full speed.
        terminal.type(b"a")
        terminal.until(b"random-start", at)
        terminal.type(b"\x1b[B\x1b[B\x151000\r")
        at = terminal.until(b"of 1000", len(terminal.data) - 1)
        begun, frames, before = time.monotonic(), terminal.data.count(BEGIN), len(terminal.data)
        terminal.read(4)
        seconds = time.monotonic() - begun
        frames, written = terminal.data.count(BEGIN) - frames, len(terminal.data) - before
        print(f"attack running: {frames / seconds:.1f} frames and {written / seconds / 1000:.0f} kB a second, {written / max(frames, 1):.0f} bytes a frame")

        times = []
        for i in range(given.keys):
            terminal.read(0.05 + 0.013 * (i % 7))
            # To the layers and back: words that only the other screen writes.
            key, shown = ((b"4", b"layer"), (b"1", b"perturbation"))[i % 2]
            at, begun = len(terminal.data), time.monotonic()
            terminal.type(key)
            terminal.until(shown, at)
            times.append(1000 * (time.monotonic() - begun))
        times.sort()
        print(f"key to screen while it runs: median {statistics.median(times):.0f} ms, 90 % within {times[int(0.9 * len(times))]:.0f}, worst {times[-1]:.0f}")
        terminal.type(b"\x03")
        terminal.quiet()


if __name__ == "__main__":
    main()
