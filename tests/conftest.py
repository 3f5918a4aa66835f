"""For all tests."""

import signal

# A shell that runs us in the background has its children ignore Ctrl-C, and theirs inherit that: tests that send
# SIGINT to a process of their own would wait in vain.
signal.signal(signal.SIGINT, signal.default_int_handler)
