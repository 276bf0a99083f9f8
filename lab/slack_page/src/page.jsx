import { useEffect, useRef, useState } from "react";
import { createRoot } from "react-dom/client";
import "slack-blocks-to-jsx/dist/style.css";
import "./page.css";
import { act, listen } from "./api.js";
import { Form } from "./form.jsx";
import { Blocks, Message, EphemeralMessage } from "./message.jsx";

const COMMAND = "/checkpoint";

function Page() {
  const [state, setState] = useState(null);
  const [me, setMe] = useState("");
  const [followed, follow] = useState("");
  const [closed, close] = useState("");
  const [home, showHome] = useState(false);
  const [problem, setProblem] = useState("");
  const seen = useRef(new Map());
  useEffect(() => listen(me, setState), [me]);
  if (!state) return <p>Connecting ...</p>;

  const { users, channel, messages, view } = state;
  const roots = messages.filter((message) => !message.thread);
  const thread = followed || roots.at(-1)?.ts;
  const inThread = messages.filter((message) => message.ts === thread || message.thread === thread);
  const inChannel = messages.filter((message) => !message.thread || message.broadcast);
  const tell = (error) => setProblem(error.message);
  const doing = (action, body) => act(state.me, action, body).then(() => setProblem(""), tell);
  const press = (what) => (action) => doing("press", { ...what, action });
  const said = [...inChannel, ...placed(state.ephemerals, messages, seen.current)].sort((a, b) => a.ts - b.ts);
  const line = (message, more) => (
    <Message key={message.ts} message={message} users={users} onPress={press({ ts: message.ts })}>
      {more}
    </Message>
  );

  function toggleHome() {
    if (!home) doing("home");
    showHome(!home);
  }

  return (
    <>
      <header className="top">
        <strong># {channel}</strong>
        <button onClick={toggleHome}>{home ? "Channel" : "App home"}</button>
        <label>
          You are{" "}
          <select value={state.me} onChange={(event) => setMe(event.target.value)}>
            {users.map(({ id, name }) => <option key={id} value={id}>{name}</option>)}
          </select>
        </label>
        {problem && <span className="wrong" role="alert">{problem}</span>}
      </header>
      <Scroll as="main" className="channel" length={said.length}>
        {home && state.home && <Blocks blocks={state.home.blocks} users={users} onPress={() => {}} withoutWrapper />}
        {!home && said.map((one) =>
          one.number === undefined ? (
            line(one, !one.thread && <RootLinks message={one} messages={messages} follow={follow} doing={doing} />)
          ) : (
            <EphemeralMessage key={one.number} ephemeral={one} users={users} onPress={press({ ephemeral: one.number })} />
          ),
        )}
      </Scroll>
      <Scroll as="aside" className="thread" length={inThread.length}>
        <h2>Thread</h2>
        {inThread.map((message) => line(message))}
      </Scroll>
      <Composer channel={channel} onCommand={(text) => doing("command", { text })} onProblem={setProblem} />
      {view && view.id !== closed && (
        <Form key={view.id + Boolean(view.submit)} view={view} me={state.me} users={users} onClose={() => close(view.id)} />
      )}
    </>
  );
}

// Slack keeps no ephemerals: each stands where the channel was when it was first seen.
function placed(ephemerals, messages, seen) {
  const last = messages.at(-1)?.ts ?? 0;
  return ephemerals.map((ephemeral) => {
    const key = JSON.stringify(ephemeral);
    if (!seen.has(key)) seen.set(key, last);
    return { ...ephemeral, ts: seen.get(key) };
  });
}

// Shows the end, as soon as there is more.
function Scroll({ as: Tag, className, length, children }) {
  const pane = useRef(null);
  useEffect(() => {
    pane.current.scrollTop = pane.current.scrollHeight;
  }, [length]);
  return <Tag className={className} ref={pane}>{children}</Tag>;
}

function RootLinks({ message, messages, follow, doing }) {
  const replies = messages.filter((one) => one.thread === message.ts).length;
  return (
    <>
      <button className="link" onClick={() => follow(message.ts)}>{replies} {replies === 1 ? "reply" : "replies"}</button>
      <button className="link" onClick={() => doing("shortcut", { ts: message.ts })}>Checkpoint pod...</button>
    </>
  );
}

function Composer({ channel, onCommand, onProblem }) {
  const [text, write] = useState("");

  function send(event) {
    event.preventDefault();
    const [command] = text.trim().split(/\s+/);
    if (command !== COMMAND) return onProblem(`Only ${COMMAND} is understood here`);
    onCommand(text.trim().slice(COMMAND.length).trim());
    write("");
  }

  return (
    <form className="composer" onSubmit={send}>
      <input
        id="composer"
        autoFocus
        autoComplete="off"
        placeholder={`Message #${channel}: try ${COMMAND} help`}
        value={text}
        onChange={(event) => write(event.target.value)}
      />
    </form>
  );
}

createRoot(document.getElementById("page")).render(<Page />);
