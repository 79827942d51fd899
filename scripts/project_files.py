# SPDX-License-Identifier: Apache-2.0
#
# The project's files, for the check scripts: all but build folders, hidden
# files and generated leftovers.
import os

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SKIPPED_FOLDERS = {"build", "__pycache__"}


def project_files(*endings):
    """Paths relative to the root that end in one of the endings, sorted."""
    found = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [f for f in folders
                      if f not in SKIPPED_FOLDERS and not f.startswith(".")]
        for name in names:
            if name.endswith(endings):
                path = os.path.join(folder, name)
                found.append(os.path.relpath(path, ROOT))
    return sorted(found)


def read_lines(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read().splitlines()


def report(findings, what):
    """Prints findings (path, line, text); -> exit status."""
    for path, line, text in sorted(findings):
        print(f"{path}:{line}: {text}")
    if findings:
        print(f"{what}: {len(findings)} findings")
    return 1 if findings else 0
