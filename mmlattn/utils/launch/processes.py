"""torch's launcher, ``python -m torch.distributed.run``, but it ends with the status of what it ran.

Takes its flags. After SIGTERM it ends with 143 and after SIGINT with 130, as the processes do, once they are done;
torch itself would end with 1 and a traceback of its own.
"""

import sys

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main


def launch() -> int:
    """Run the processes of the command line; the exit status."""
    try:
        main()
    except SignalException as error:
        return 128 + int(error.sigval)
    except ChildFailedError as error:
        # What a process failed at, it has said itself, unless something killed it.
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            print(f'error: process {rank} was ended by signal {-failure.exitcode}', file=sys.stderr)
            return 128 - failure.exitcode
        return failure.exitcode
    return 0


if __name__ == '__main__':
    sys.exit(launch())
