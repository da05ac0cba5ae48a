"""What QEMU runs for each connection of the guest to the server: standard input and output <-> 127.0.0.1:PORT."""

import os
import socket
import sys
import threading

server = socket.create_connection(("127.0.0.1", int(sys.argv[1])))


def to_server() -> None:
    while data := os.read(0, 1 << 16):
        server.sendall(data)
    server.shutdown(socket.SHUT_WR)


threading.Thread(target=to_server, daemon=True).start()
while data := server.recv(1 << 16):
    while data:
        data = data[os.write(1, data) :]
os._exit(0)  # the thread may still wait for the guest
