"""What the program does, without HTTP: reading messages, writing records, keeping their figures."""
