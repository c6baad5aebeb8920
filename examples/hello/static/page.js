"use strict";
const find = (id) => document.getElementById(id);
const paths = document.body.dataset;

new EventSource(paths.events).onmessage = (event) => { find("clock").textContent = event.data; };

const socket = new WebSocket(new URL(paths.echo, location.href.replace(/^http/, "ws")));
socket.onmessage = (event) => {
  const item = document.createElement("li");
  item.textContent = event.data;
  find("replies").prepend(item);
};
find("chat").onsubmit = (event) => {
  event.preventDefault();
  socket.send(find("message").value);
  event.target.reset();
};

find("upload").onsubmit = async (event) => {
  event.preventDefault();
  const answer = await fetch(paths.upload, { method: "POST", body: find("file").files[0] });
  const { bytes, sha256 } = await answer.json();
  find("digest").textContent = `${bytes} bytes, SHA-256 ${sha256}`;
};
