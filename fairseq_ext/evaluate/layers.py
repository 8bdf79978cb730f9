"""``python -m fairseq_ext.evaluate.layers RUN_FOLDER ...``: what the layers of a trained masked LM read, write and hold, as arrays.

``docs/layers-format.md`` is the contract. This file is the command's beginning; :mod:`.layers_command` is the command.
"""

from .logs import say_warnings_only

if __name__ == "__main__":
    say_warnings_only()

from .layers_command import main

if __name__ == "__main__":
    main()
