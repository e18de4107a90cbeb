"""The JSON Schema of a config, for editors: every layer typed, in its three written forms."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from cnncli.config.schema import Config
from cnncli.layers import Entry
from cnncli.optimizers import Named, Sgd, signatures
from cnncli.spec import Spec


class _Forms(GenerateJsonSchema):
    """Tagged unions are written ``name``, ``name: value`` or ``name: {fields}``; entries add ``name`` and ``from``."""

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        forms: list[JsonSchemaValue] = []
        for kind, choice in schema["choices"].items():
            spec = _spec_class(choice)
            if kind and spec is not None:
                forms += self._forms(str(kind), spec, self.generate_inner(choice))
        return {"anyOf": forms}

    def _forms(self, kind: str, spec: type[Spec], fields: JsonSchemaValue) -> list[JsonSchemaValue]:
        values = [fields]
        needed = [info.alias or name for name, info in spec.model_fields.items() if info.is_required()]
        if spec.main and set(needed) <= {spec.main}:
            main = spec.model_json_schema(by_alias=True, schema_generator=_Forms)["properties"].get(spec.main, {})
            if "$ref" not in str(main):
                values.append(main)
        if not needed:
            values.append({"type": "null"})
        text = (spec.__doc__ or "").split("\n\n")[0]
        mapping = {"type": "object", "properties": {kind: {"anyOf": values, "description": text}}, "required": [kind]}
        return [mapping] if needed else [{"const": kind, "description": text}, mapping]


def _spec_class(schema: Any) -> type[Spec] | None:
    """The class at the bottom of a choice's validators."""
    while isinstance(schema, dict):
        if schema.get("type") == "model":
            return schema["cls"] if issubclass(schema["cls"], Spec) else None
        schema = schema.get("schema")
    return None
