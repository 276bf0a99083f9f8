// Everything that somebody does goes to the server, which passes it on to the bot as Slack would.

export async function act(user, action, body = {}) {
  const response = await fetch(`/do/${action}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ user, ...body }),
  });
  if (!response.ok) throw new Error(await response.text());
  return response.json();
}

export function listen(user, heard) {
  const source = new EventSource(`/live?user=${user}`);
  source.onmessage = (event) => heard(JSON.parse(event.data));
  return () => source.close();
}
