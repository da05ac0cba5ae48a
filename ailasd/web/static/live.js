// Without it the page loads itself anew now and then. The server sends the part that changes as it stands in the page.
"use strict";
const now = document.getElementById("now");
if (now && now.dataset.live && "EventSource" in window) {
  const source = new EventSource(now.dataset.live);
  source.onmessage = (event) => {
    now.innerHTML = event.data;
    document.title = document.title.split(" · ")[0] + " · " + now.querySelector("h1").textContent;
  };
  // What it shows may be old now, and says so. A browser asks again by itself, but not after a refusal.
  source.onerror = () => {
    now.classList.add("old");
    if (source.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 10000);
  };
  source.onopen = () => now.classList.remove("old");
}
