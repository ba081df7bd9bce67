"""Runs a command, then prints its peak memory in MiB and its processor time in seconds."""

import resource
import subprocess
import sys

if __name__ == "__main__":
    code = subprocess.run(sys.argv[1:], check=False).returncode
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(used.ru_maxrss / 1024)
    print(used.ru_utime + used.ru_stime)
    sys.exit(code)
