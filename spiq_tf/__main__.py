"""`python -m spiq_tf` is the command `spiq-tf`."""

import sys

from spiq_tf.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
