"""The one kind of error that a user can cause."""


class UserError(SystemExit):
    """Ends the program with one line on stderr and exit status 1.

    It derives from ``SystemExit`` because fairseq's command line has no error handling of its own: any other exception would
    print a traceback. The message says what was expected, what was found and what to do.
    """

    def __init__(self, message: str) -> None:
        super().__init__(f"error: {' '.join(message.split())}")
        self.message = message

    def __str__(self) -> str:
        return self.message
