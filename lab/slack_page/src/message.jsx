import { Component, useEffect, useRef } from "react";
import { Message as SlackMessage } from "slack-blocks-to-jsx";

// What the renderer could not show; whoever drives the page looks here.
window.renderErrors = [];

// The bot's texts say that they hold no emoji; the renderer would take the ":06:" of a time for one.
const hooks = { emoji: ({ name }) => `:${name}:` };

function complain(problem) {
  window.renderErrors.push(problem);
  console.error(problem);
}

class Boundary extends Component {
  state = { failed: false };

  static getDerivedStateFromError() {
    return { failed: true };
  }

  componentDidCatch(error) {
    complain(`Blocks could not be rendered: ${error}`);
  }

  render() {
    return this.state.failed ? <p className="broken">These blocks cannot be shown.</p> : this.props.children;
  }
}

// Shows blocks. The renderer shows nothing at all for a type that it does not know: that is found here.
export function Blocks({ blocks, users, onPress, ...header }) {
  const shown = useRef(null);
  const waiting = useRef("");
  useEffect(() => {
    const wrappers = shown.current.querySelectorAll(".slack_blocks_to_jsx--blocks > *");
    const there = [...wrappers].filter((one) => one.textContent).length;
    if (there !== blocks.length) {
      const types = blocks.map((block) => block.type).join(", ");
      complain(`${there} of ${blocks.length} blocks are shown: ${types}`);
    }
  }, [blocks]);

  // The renderer draws buttons, and asks where they want a confirmation, but tells nobody.
  function clicked({ target }) {
    const button = target.closest("button");
    const dialog = target.closest(".slack_blocks_to_jsx__confirm_dialog");
    if (dialog && button === dialog.querySelector("button:last-of-type")) onPress(waiting.current);
    if (dialog || !button?.classList.contains("slack_blocks_to_jsx__button_element")) return;
    waiting.current = button.id;
    if (!wantsConfirmation(blocks, button.id)) onPress(button.id);
  }

  return (
    <div ref={shown} onClick={clicked}>
      <Boundary key={JSON.stringify(blocks)}>
        <SlackMessage theme="light" logo="/logo.svg" blocks={blocks} data={{ users }} hooks={hooks} {...header} />
      </Boundary>
    </div>
  );
}

function wantsConfirmation(blocks, action) {
  const elements = blocks.flatMap((block) => [...(block.elements ?? []), block.accessory ?? {}]);
  return elements.some((element) => element.action_id === action && element.confirm);
}

// A message of the bot, in the channel or in a thread.
export function Message({ message, users, onPress, children }) {
  const time = new Date(parseFloat(message.ts) * 1000);
  return (
    <article className="message" data-ts={message.ts} data-edits={message.edits}>
      <Blocks blocks={message.blocks} users={users} onPress={onPress} name="Forensics" time={time} />
      <footer>
        {message.edits > 0 && <span className="edited">(edited)</span>}
        {children}
      </footer>
    </article>
  );
}

// What one person sees, and nobody else.
export function EphemeralMessage({ ephemeral, users, onPress }) {
  return (
    <article className="message ephemeral">
      <p className="private">Only visible to you</p>
      <Blocks blocks={ephemeral.blocks} users={users} onPress={onPress} name="Forensics" />
    </article>
  );
}
