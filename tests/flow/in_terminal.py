#!/usr/bin/env python3
"""Runs a command in a terminal of its own and plays a script to it: what is to be seen, which keys then.

usage: in_terminal.py ROWS COLUMNS SCRIPT COMMAND...

SCRIPT: a line a step: `see REGEX`, within 20 s, in what was printed since the last step that saw something; `keys TEXT`
with Python's escapes; `size ROWS COLUMNS`; `signal NAME`; `ends CODE`. Escape sequences are gone from what is
looked at; what came whole is written to standard output at the end.
"""
import codecs
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time


def resize(fd, rows, columns):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", int(rows), int(columns), 0, 0))


class Terminal:
    def __init__(self, rows, columns, command):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            resize(0, rows, columns)
            os.execvp(command[0], command)
        self.all, self.fresh = b"", b""

    def read(self, wait_s):
        if not select.select([self.fd], [], [], wait_s)[0]:
            return True
        try:
            got = os.read(self.fd, 65536)
        except OSError:
            got = b""
        self.all += got
        self.fresh += got
        return bool(got)

    def see(self, pattern):
        end = time.monotonic() + 20
        while time.monotonic() < end:
            text = re.sub(rb"\x1b\[\??[0-9;]*[A-Za-z]", b"", self.fresh).decode(errors="replace")
            if re.search(pattern, text):
                self.fresh = b""
                return
            if not self.read(0.2):
                break
        raise SystemExit(f"not seen: {pattern}\nin: {text[-3000:]}")

    def ends(self, code):
        end = time.monotonic() + 20
        while time.monotonic() < end and self.read(0.2):
            pass
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid == 0:
            time.sleep(1)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid == 0 or os.waitstatus_to_exitcode(status) != int(code):
            raise SystemExit(f"it did not end with {code}: {pid}, {status}")


def main():
    rows, columns, script, *command = sys.argv[1:]
    terminal = Terminal(rows, columns, command)
    steps = {
        "see": terminal.see,
        "keys": lambda text: os.write(terminal.fd, codecs.decode(text, "unicode_escape").encode("latin-1")),
        "size": lambda text: resize(terminal.fd, *text.split()),
        "signal": lambda text: os.kill(terminal.pid, getattr(signal, "SIG" + text)),
        "ends": terminal.ends,
    }
    try:
        for line in filter(None, map(str.strip, script.splitlines())):
            verb, _, rest = line.partition(" ")
            steps[verb](rest)
    finally:
        sys.stdout.buffer.write(terminal.all)


if __name__ == "__main__":
    main()
