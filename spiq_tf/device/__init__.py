"""What runtimes and compilers accept: targets as tables, and the check of a finished file against one."""
