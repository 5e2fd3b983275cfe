"""Templates: Janus' own, a tokenizer's chat template, or plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from polyjanus.core.hookspecs import hookimpl
from polyjanus.core.registry import Registries
from polyjanus.core.settings import BuildContext, TemplateConfig

if TYPE_CHECKING:
    from polyjanus.core.sequence.template import Template


class AutoTemplateConfig(TemplateConfig):
    """The tokenizer's chat template where it has one, else Janus'."""

    type: Literal["auto"]

    def build(self, context: BuildContext) -> Template:
        """Return the template."""
        from polyjanus.plugins.templates.modules import ChatTemplate, JanusTemplate

        tokenizer = context.parts["text.tokenizer"]
        return ChatTemplate(tokenizer) if tokenizer.chat_template else JanusTemplate(tokenizer)


class JanusTemplateConfig(TemplateConfig):
    """`<|User|>: …` and `<|Assistant|>: …`, two new lines between turns (Janus-Pro, arXiv 2501.17811)."""

    type: Literal["janus"]
    user: str = Field(default="<|User|>", description="name of the user's role")
    assistant: str = Field(default="<|Assistant|>", description="name of the assistant's role")
    system: str = Field(
        default="", description="said first in conversations that hold media and have no system message of their own"
    )

    def build(self, context: BuildContext) -> Template:
        """Return the template."""
        from polyjanus.plugins.templates.modules import JanusTemplate

        tokenizer = context.parts["text.tokenizer"]
        return JanusTemplate(tokenizer, user=self.user, assistant=self.assistant, system=self.system)


class ChatTemplateConfig(TemplateConfig):
    """The Jinja chat template that comes with the tokenizer."""

    type: Literal["chat"]

    def build(self, context: BuildContext) -> Template:
        """Return the template."""
        from polyjanus.plugins.templates.modules import ChatTemplate

        return ChatTemplate(context.parts["text.tokenizer"])


@hookimpl
def register(registries: Registries) -> None:
    """Offer the templates."""
    registries.templates.add(AutoTemplateConfig)
    registries.templates.add(JanusTemplateConfig)
    registries.templates.add(ChatTemplateConfig)
