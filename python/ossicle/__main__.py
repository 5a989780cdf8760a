"""``python -m ossicle`` is ``ossicle``, for launchers such as torchrun that take a module."""

from ossicle.cli import main

if __name__ == "__main__":
    main()
