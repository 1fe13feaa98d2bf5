"""`python -m edgelstm_converters model.keras -o model.elstm` is the command `edgelstm convert`."""

import sys

from edgelstm.cli import main

if __name__ == "__main__":
    sys.exit(main(["convert", *sys.argv[1:]]))
