"""The face: click commands, one short file each. Formats results and errors for people."""
