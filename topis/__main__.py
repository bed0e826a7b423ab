"""``python -m topis``."""

from topis.cli.main import main

main()
