import { useState } from "react";
import { act } from "./api.js";
import { Blocks } from "./message.jsx";

// A form of the bot. The renderer knows no forms, and its selects offer nothing: these do.
export function Form({ view, me, users, onClose }) {
  // By block id, as Slack does: a block with a new one has forgotten what was chosen.
  const [filled, fill] = useState({});
  const [errors, setErrors] = useState({});
  const inputs = view.blocks.filter((block) => block.type === "input");
  const texts = view.blocks.filter((block) => block.type !== "input");
  const value = (block) => filled[block.block_id] ?? initial(block.element);
  const given = (changed, to) =>
    Object.fromEntries(
      inputs
        .map((block) => [block.element.action_id, block === changed ? to : value(block)])
        .filter(([, it]) => it.length),
    );

  async function submit(event) {
    event.preventDefault();
    const answer = await act(me, "submit", { view: view.id, filled: given() });
    if (answer.response_action === "errors") setErrors(answer.errors);
    else onClose();
  }

  function change(block, to) {
    fill((before) => ({ ...before, [block.block_id]: to }));
    if (!block.dispatch_action) return;
    act(me, "choose", { view: view.id, field: block.element.action_id, filled: given(block, to) });
  }

  return (
    <div className="veil">
      <form className="form" onSubmit={submit}>
        <h2>{view.title.text}</h2>
        {texts.length > 0 && <Blocks blocks={texts} users={users} onPress={() => {}} withoutWrapper />}
        {inputs.map((block) => (
          <Input
            key={block.block_id}
            block={block}
            value={value(block)}
            error={errors[block.block_id]}
            onChange={(to) => change(block, to)}
            suggest={(typed) =>
              act(me, "suggest", { view: view.id, field: block.element.action_id, typed })
            }
          />
        ))}
        <menu>
          <button type="button" onClick={onClose}>{view.close?.text ?? "Close"}</button>
          {view.submit && <button className="primary">{view.submit.text}</button>}
        </menu>
      </form>
    </div>
  );
}

function initial({ type, initial_option: option, initial_value: text }) {
  return type.startsWith("multi_") ? [] : (option?.value ?? text ?? "");
}

function Input({ block, value, error, onChange, suggest }) {
  const { element, label, optional, hint } = block;
  const Field = element.type.includes("external_select") ? Select : Writing;
  return (
    <div className="field" data-field={element.action_id} data-block={block.block_id}>
      <span className="label">{label.text}{optional && <small> (optional)</small>}</span>
      <Field element={element} value={value} onChange={onChange} suggest={suggest} />
      {hint && <small>{hint.text}</small>}
      {error && <strong className="wrong">{error}</strong>}
    </div>
  );
}

function Writing({ element, value, onChange }) {
  const Tag = element.multiline ? "textarea" : "input";
  return <Tag value={value} maxLength={element.max_length} onChange={(event) => onChange(event.target.value)} />;
}

function Select({ element, value, onChange, suggest }) {
  const [typed, type] = useState(null);
  const [offered, offer] = useState([]);
  const several = element.type.startsWith("multi_");
  const chosen = several ? value.join(", ") : value;

  async function ask(text) {
    type(text);
    offer((await suggest(text)).options);
  }

  function choose(name) {
    onChange(several ? [...new Set([...value, name])] : name);
    type(null);
    offer([]);
  }

  return (
    <div className="select">
      <input
        value={typed ?? chosen}
        placeholder={element.placeholder?.text}
        onFocus={() => ask("")}
        onChange={(event) => ask(event.target.value)}
      />
      {several && value.length > 0 && <button type="button" onClick={() => onChange([])}>Clear</button>}
      {offered.length > 0 && (
        <ul>
          {offered.map((name) => (
            <li key={name}><button type="button" onClick={() => choose(name)}>{name}</button></li>
          ))}
        </ul>
      )}
    </div>
  );
}
