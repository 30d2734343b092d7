#!/usr/bin/env python3
"""Drives a headless Chromium over its DevTools pipe; nothing but Python's own library.

    chromium.py CHROMIUM FOLDER ORIGIN

FOLDER has home/, where the NSS store is, and gets profile/. For ORIGIN, and for no other, Chromium sends a client
certificate without asking. For each line "COMMAND ARGUMENT" on stdin there is one line of JSON on stdout:

    {"status": 200, "text": "…", "connection": 12, "protocol": "h2"}      or  {"error": "net::ERR_…"}

OPEN URL        navigates, as typed into the address bar
FETCH URL       has the page that is open fetch the URL
CLICK SELECTOR  clicks with the mouse, and waits for the page that this leads to
KEY NAME        presses a key, such as Tab:  {"value": null}
EVAL SCRIPT     {"value": …}, what the script comes to
VIEW JSON       from now on the window has this width and height, and the person prefers this scheme and this motion
SHOOT FILE      a picture of the whole page, as PNG
AXE FILE        has axe-core, which FILE is, look at the page:  {"value": [what it found wrong]}
COMPLAINTS -    {"value": [what the browser said against the pages so far]}

At the end of stdin the browser is closed. DevTools has a pipe (descriptors 3 and 4, JSON with NUL behind each message), so that no port is open
to others while this runs.
"""

import base64
import json
import os
import select
import signal
import subprocess
import sys
import time

PATIENCE = 60 * float(os.environ.get("FARMGATE_TEST_PATIENCE", "1"))

FLAGS = [
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-sandbox",  # which Chromium refuses to set up for root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--no-proxy-server",
    "--password-store=basic",
    "--use-mock-keychain",
    "about:blank",
]


def write_profile(profile, origin):
    """The setting that the policy AutoSelectCertificateForUrls makes, in a profile of its own: no system file is touched.
    An empty filter takes any certificate that the server would."""
    os.makedirs(os.path.join(profile, "Default"))
    choice = {f"{origin},*": {"setting": {"filters": [{}]}}}
    settings = {"content_settings": {"exceptions": {"auto_select_certificate": choice}}}
    with open(os.path.join(profile, "Default", "Preferences"), "w") as file:
        json.dump({"profile": settings}, file)


class Browser:
    def __init__(self, program, folder, origin):
        profile = os.path.join(folder, "profile")
        write_profile(profile, origin)
        home = os.path.join(folder, "home")
        environment = {key: value for key, value in os.environ.items() if not key.startswith("XDG_")}
        environment.update(HOME=home, NO_COLOR="1")
        theirs_in, self.commands = os.pipe()
        self.answers, theirs_out = os.pipe()

        def descriptors():
            # By way of high ones: 3 and 4 may be the very ones that are to be moved.
            high_in, high_out = os.dup2(theirs_in, 103), os.dup2(theirs_out, 104)
            os.dup2(high_in, 3)
            os.dup2(high_out, 4)

        self.process = subprocess.Popen(
            [program, f"--user-data-dir={profile}", *FLAGS],
            stdin=subprocess.DEVNULL,
            stdout=open(os.path.join(folder, "browser.log"), "w"),
            stderr=subprocess.STDOUT,
            env=environment,
            preexec_fn=descriptors,
            pass_fds=(3, 4, theirs_in, theirs_out),
            start_new_session=True,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self.pending = b""
        self.events = []
        self.complaints = []
        self.number = 0
        self.session = None

    def message(self, deadline):
        while b"\0" not in self.pending:
            ready, _, _ = select.select([self.answers], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError("Chromium says nothing")
            read = os.read(self.answers, 1 << 16)
            if not read:
                raise EOFError(f"Chromium ended ({self.process.poll()})")
            self.pending += read
        message, self.pending = self.pending.split(b"\0", 1)
        message = json.loads(message)
        about = message.get("params", {})
        if message.get("method") == "Log.entryAdded" and about["entry"]["level"] == "error":
            self.complaints.append(f"{about['entry'].get('url')}: {about['entry']['text']}")
        if message.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(about["exceptionDetails"]))
        return message

    def call(self, method, **parameters):
        self.number += 1
        call = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            call["sessionId"] = self.session
        os.write(self.commands, json.dumps(call).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE
        while True:
            message = self.message(deadline)
            if message.get("id") == self.number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]
            self.events.append(message)

    def wait_for(self, is_wanted):
        deadline = time.monotonic() + PATIENCE
        seen = 0
        while True:
            for event in self.events[seen:]:
                if is_wanted(event):
                    return event
            seen = len(self.events)
            self.events.append(self.message(deadline))

    def attach(self):
        target = next(one for one in self.call("Target.getTargets")["targetInfos"] if one["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log", "DOM"):
            self.call(f"{domain}.enable")

    def response(self, url):
        def is_response(event):
            about = event.get("params", {}).get("response", {}).get("url")
            return event["method"] == "Network.responseReceived" and about == url

        response = self.wait_for(is_response)["params"]["response"]
        protocol, connection = response.get("protocol"), response["connectionId"]
        return {"status": response["status"], "connection": connection, "protocol": protocol}

    def evaluate(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"]["exception"].get("description", "an exception"))
        return result["result"].get("value")

    def open(self, url):
        self.events.clear()
        error = self.call("Page.navigate", url=url).get("errorText")
        # Of a page with an error status too: it has a body of its own.
        if error and error != "net::ERR_HTTP_RESPONSE_CODE_FAILURE":
            return {"error": error}
        answer = self.response(url)
        self.wait_for(lambda event: event["method"] == "Page.loadEventFired")
        return {**answer, "text": self.evaluate("document.body.innerText")}

    def fetch(self, url):
        self.events.clear()
        text = self.evaluate(f"fetch({json.dumps(url)}, {{cache: 'no-store'}}).then(answer => answer.text())")
        return {**self.response(url), "text": text}

    def click(self, selector):
        document = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=document, selector=selector)["nodeId"]
        if not node:
            raise RuntimeError(f"there is no {selector}")
        self.call("DOM.scrollIntoViewIfNeeded", nodeId=node)
        corners = self.call("DOM.getContentQuads", nodeId=node)["quads"][0]
        x, y = sum(corners[0::2]) / 4, sum(corners[1::2]) / 4
        self.events.clear()
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        # The one after the last redirect.
        self.wait_for(lambda event: event["method"] == "Page.loadEventFired")
        url = self.evaluate("location.href.split('#')[0]")
        return {**self.response(url), "text": self.evaluate("document.body.innerText")}

    def key(self, name):
        for kind in ("keyDown", "keyUp"):
            code = {"Tab": 9, "Enter": 13}[name]
            text = {"text": "\r"} if name == "Enter" and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code, **text)
        return {"value": None}

    def view(self, wanted):
        wanted = json.loads(wanted)
        size = {"width": wanted["width"], "height": wanted["height"], "deviceScaleFactor": 1}
        self.call("Emulation.setDeviceMetricsOverride", mobile=wanted["width"] < 600, **size)
        features = [{"name": f"prefers-{name}", "value": wanted[key]} for name, key in
                    (("color-scheme", "scheme"), ("reduced-motion", "motion")) if key in wanted]
        self.call("Emulation.setEmulatedMedia", features=features)
        return {"value": None}

    def shoot(self, path):
        picture = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(picture))
        return {"value": None}

    def axe(self, path):
        with open(path, encoding="utf-8") as file:
            self.evaluate(file.read() + "; undefined")
        found = self.evaluate(
            "axe.run({ resultTypes: ['violations'] }).then(found => found.violations.map(one => "
            "one.id + ': ' + one.nodes.map(node => node.html + ' ' + node.failureSummary).join(' | ')))"
        )
        return {"value": found}

    def close(self):
        try:
            self.session = None
            self.call("Browser.close")
            self.process.wait(10)
        except Exception:
            pass
        finally:
            try:
                # The group is this browser's own: it was made with it.
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.process.wait()


def main(program, folder, origin):
    browser = Browser(program, folder, origin)
    try:
        browser.attach()
        for line in sys.stdin:
            what, _, argument = line.strip().partition(" ")
            try:
                answer = {
                    "OPEN": browser.open,
                    "FETCH": browser.fetch,
                    "CLICK": browser.click,
                    "KEY": browser.key,
                    "EVAL": lambda script: {"value": browser.evaluate(script)},
                    "VIEW": browser.view,
                    "SHOOT": browser.shoot,
                    "AXE": browser.axe,
                    "COMPLAINTS": lambda _: {"value": browser.complaints},
                }[what](argument)
            except RuntimeError as error:
                answer = {"error": str(error)}
            print(json.dumps(answer), flush=True)
    finally:
        browser.close()


main(*sys.argv[1:])
