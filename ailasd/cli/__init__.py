"""The command line: ``commands`` has one function each; what takes long while somebody waits is in ``at_once``.

``set_up`` puts it all on a machine, ``log_in`` makes it known to its server, ``limits`` lifts those of sending,
``examine`` looks what could be wrong, ``tell`` tells others what happened, ``show`` tells of a drive and shows the sign
on a desktop, ``pin`` lets people see the page.
"""

from ailasd.cli import examine, limits, log_in, pin, set_up, show, tell  # their commands become some of the program's
from ailasd.cli.commands import main, program

__all__ = ["examine", "limits", "log_in", "main", "pin", "program", "set_up", "show", "tell"]
