"""Binds sockets, and becomes another program that is told of them as systemd and the Shepherd do (sd_listen_fds(3)).

activate.py [NAME=]ADDRESS:PORT... -- PROGRAM ARGUMENT...
"""

import os
import socket
import sys

end = sys.argv.index("--")
names, sockets = [], []
for wanted in sys.argv[1:end]:
    name, _, address = wanted.rpartition("=")
    host, _, port = address.rpartition(":")
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, int(port)))
    # One that does not listen is for seeing what comes of that.
    if name != "deaf":
        listener.listen(128)
    names.append(name)
    sockets.append(listener)
# Out of the way of the places they are wanted at.
high = [os.dup2(listener.fileno(), 100 + at) for at, listener in enumerate(sockets)]
for at, fd in enumerate(high):
    os.dup2(fd, 3 + at, inheritable=True)
    os.close(fd)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(sockets)), LISTEN_FDNAMES=":".join(names))
os.execvp(sys.argv[end + 1], sys.argv[end + 1 :])
