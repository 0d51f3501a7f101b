"""The OpenAPI document, and the decorator by which routes declare themselves."""
