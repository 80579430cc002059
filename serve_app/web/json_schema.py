"""JSON schemas without the formats that clients' validators refuse."""

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

UUID_SCHEMA = {
    "type": "string",
    "pattern": "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
}


class PlainFormats(GenerateJsonSchema):
    """Schemas whose only `format` is date-time; a pattern stands for any other."""

    def uuid_schema(self, schema: core_schema.UuidSchema) -> JsonSchemaValue:
        return dict(UUID_SCHEMA)

    def date_schema(self, schema: core_schema.DateSchema) -> JsonSchemaValue:
        return {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}
