"""Run in the guest: visits the page as somebody at the kit does who knows the PIN (the argument). Prints JSON."""

import http.client
import io
import json
import re
import sys
import zipfile
from urllib.parse import urlencode

cookies: dict[str, str] = {}


def ask(method: str, path: str, **fields: str) -> tuple[int, bytes]:
    """One request, with the cookies of those before; a form's fields, if it is one."""
    page = http.client.HTTPConnection("127.0.0.1", 8040, timeout=60)
    headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items()), "Accept-Language": "en"}
    if method == "POST":
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    page.request(method, path, urlencode(fields) if fields else None, headers)
    answer = page.getresponse()
    for cookie in answer.headers.get_all("Set-Cookie") or ():
        name, _, value = cookie.partition(";")[0].partition("=")
        cookies[name] = value.strip('"')
    return answer.status, answer.read()


def form() -> str:
    """What a form on the main page carries."""
    found = re.search(r'name="form" value="([0-9a-f]+)"', ask("GET", "/")[1].decode())
    assert found
    return found[1]


def visit(pin: str) -> dict[str, object]:
    """What is to be seen, without the PIN and with it."""
    seen: dict[str, object] = {"sign": re.findall(r"<h1>(.*?)</h1>", ask("GET", "/")[1].decode())}
    seen["without"] = ask("GET", "/picture/1.jpg")[0]
    seen["entered"] = ask("POST", "/pin", form=form(), pin=pin)[0]
    status, image = ask("GET", "/picture/1.jpg")
    seen["with"] = [status, image[:3].hex()]
    status, bundle = ask("POST", "/bundle", form=form())
    seen["bundle"] = sorted(zipfile.ZipFile(io.BytesIO(bundle)).namelist()) if status == 200 else [str(status)]
    return seen


print(json.dumps(visit(sys.argv[1])))
