// A line through all plots where the pointer is, and what the session under it was doing then.
for (const plots of document.querySelectorAll(".timeline")) {
  const seconds = Number(plots.dataset.s);
  const readout = plots.appendChild(document.createElement("div"));
  readout.className = "readout";
  readout.hidden = true;

  const leave = () => {
    plots.classList.remove("cursor");
    readout.hidden = true;
  };

  plots.addEventListener("pointerleave", leave);
  plots.addEventListener("pointermove", (event) => {
    const track = event.target.closest(".track");
    if (!track) return leave();
    const box = track.getBoundingClientRect();
    const part = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
    const time = part * seconds;
    plots.style.setProperty("--x", part);
    plots.classList.add("cursor");
    const words = [`${time.toFixed(1)} s`];
    if (track.dataset.points) {
      const last = JSON.parse(track.dataset.points).findLast(([t]) => t <= time);
      words.push(track.dataset.name);
      if (last) words.push(`segment at ${last[0]} s: ${last[2]} kbit/s from ${last[3]}, buffer ${last[1]} s`);
    }
    readout.textContent = words.join("  ·  ");
    readout.hidden = false;
    const frame = plots.getBoundingClientRect();
    const left = Math.min(event.clientX - frame.left + 14, frame.width - readout.offsetWidth);
    readout.style.left = `${Math.max(left, 0)}px`;
    readout.style.top = `${event.clientY - frame.top + 16}px`;
  });
}
