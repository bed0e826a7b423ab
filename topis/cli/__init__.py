"""The face: click commands, one short file each. Formats results and errors for people."""

#: Shown below the help of every command.
EXIT_CODES = """\b
Exit codes: 0 done, 1 something went wrong, 2 mistyped command, 3 bad input,
4 SUMO failed, 5 safety violated, 6 cannot write results, 7 replay differs,
130 interrupted."""
