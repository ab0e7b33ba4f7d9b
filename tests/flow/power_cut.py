#!/usr/bin/env python3
"""Puts a folder into the state that it has after a power cut, by what power_cut.c wrote down.

usage: power_cut.py FOLDER DISK

FOLDER: below POWER_CUT_ROOT; no process may use it any more. DISK: POWER_CUT_DISK.
"""
import os
import shutil
import stat
import subprocess
import sys


def key_of(path):
    words = subprocess.run(["stat", "-c", "%i %W %w", path], capture_output=True, text=True, check=True).stdout.split()
    inode, seconds = words[:2]
    fraction = words[3].partition(".")[2] if len(words) > 3 else "0"
    return f"{inode}-{seconds}.{int(fraction or 0)}"


def restore(disk, key, folder):
    """What is not in the list of names is lost; a file whose content was never synced is empty."""
    names = os.path.join(disk, f"{key}.folder")
    if not os.path.exists(names):
        return
    with open(names, encoding="utf-8") as lines:
        for line in lines:
            inner, mode, name = line.rstrip("\n").split(" ", 2)
            path, mode = os.path.join(folder, name), int(mode, 8)
            if stat.S_ISDIR(mode):
                os.mkdir(path)
                restore(disk, inner, path)
            elif stat.S_ISREG(mode):
                kept = os.path.join(disk, f"{inner}.file")
                shutil.copyfile(kept if os.path.exists(kept) else "/dev/null", path)
            else:
                continue
            os.chmod(path, stat.S_IMODE(mode))


def keep(disk, folder):
    """What is there after the cut, the disk has: the next one must find it written down."""
    with open(os.path.join(disk, f"{key_of(folder)}.folder"), "w", encoding="utf-8") as lines:
        for entry in os.scandir(folder):
            key, mode = key_of(entry.path), entry.stat(follow_symlinks=False).st_mode
            lines.write(f"{key} {mode:o} {entry.name}\n")
            if entry.is_dir(follow_symlinks=False):
                keep(disk, entry.path)
            else:
                shutil.copyfile(entry.path, os.path.join(disk, f"{key}.file"))


def main():
    folder, disk = sys.argv[1:]
    key, after = key_of(folder), folder + ".after"
    os.mkdir(after, 0o700)
    restore(disk, key, after)
    shutil.rmtree(folder)
    os.rename(after, folder)
    keep(disk, folder)


if __name__ == "__main__":
    main()
