"""`spiq-tf convert` under its old name."""

import sys

from spiq_tf.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["convert", *sys.argv[1:]]))
