"""The real worker program around slots that serve nothing, for tests of the supervisor."""

import os
import sys

from buchner.worker.main import main


class Slots:
    def __init__(self, app, threads, *, max_detached, max_requests, on_recycle):
        self.app = app

    def attach(self, claim_fd, fds, first_slot, io_threads):
        for fd in [claim_fd, *fds]:
            os.close(fd)

    def start(self):
        pass

    def stop(self, deadline):
        return True


sys.exit(main(slots=Slots))
