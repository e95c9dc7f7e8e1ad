"""Mistakes a user can mend."""


class UserError(ValueError):
    """Something from a file, a recipe or the command line is wrong.

    The message is one sentence that says what was expected, what came and what to do. The command
    line prints it as one line and exits with code 2.
    """
