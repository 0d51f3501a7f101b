"""The owner's page of bearer tokens: who has access, and revoking that."""

from typing import Annotated, Any

from flask import Blueprint, redirect, request, url_for
from msgspec import Meta, Struct

from .. import tokens
from ..schemas.server import TokenForm
from ..tokens import Token
from .auth import check_form, owner_only
from .errors import ApiError
from .openapi.decorator import FORM, PAGE, operation
from .owner.pages import TokensPage
from .responses import render

blueprint = Blueprint("tokens", __name__)


class TokensQuery(Struct):
    revoke: Annotated[str, Meta(description="Ask whether to revoke the token of this name.")] = ""
    revoked: Annotated[str, Meta(description="Say that the token of this name is revoked.")] = ""


@blueprint.get("/dashboard/tokens")
@owner_only
@operation("Who has a bearer token, for what", PAGE, query=TokensQuery)
def tokens_page(query: TokensQuery) -> str:
    listed = tokens.listed()
    revoking, revoked = _named(listed, query.revoke), _named(listed, query.revoked)
    return render(
        TokensPage(
            tokens=listed,
            revoking=revoking if revoking and not revoking.revoked_at else None,
            revoked=revoked if revoked and revoked.revoked_at else None,
        )
    )


@blueprint.post("/dashboard/tokens/revoke")
@owner_only
@operation(
    "Revoke a token",
    {302: "Sign in first.", 303: "It is revoked; the page says so."},
    errors=("csrf_token_required", "not_found", "body_too_large"),
    body={FORM: TokenForm},
)
def revoke_token() -> Any:
    check_form()
    name = request.form.get("name", "")
    if not tokens.revoke(name) and tokens.named(name) is None:
        raise ApiError("not_found", "There is no token of this name.")
    return redirect(url_for("tokens.tokens_page", revoked=name), 303)


def _named(listed: list[Token], name: str) -> Token | None:
    return next((token for token in listed if token.name == name), None)
