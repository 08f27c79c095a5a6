"""What the role does with the filters of a variables file."""

import hashlib
import json

from ansible.errors import AnsibleFilterError


def arguments(rule):
    """The arguments of `postern filter add` for one filter."""
    found = ["--description", mark(rule)]
    for key, values in sorted(rule.items()):
        option = "--" + key.replace("_", "-")
        for value in values if isinstance(values, list) else [values]:
            if value is True:
                found.append(option)
            elif isinstance(value, (str, int)) and value is not False:
                # One word, so that a value which begins with a hyphen is none the less a value.
                found.append(f"{option}={value}")
            elif value is not False:
                raise AnsibleFilterError(f"filter '{rule.get('name')}': {key} cannot be {value!r}")
    return found


def mark(rule):
    """What tells a filter of this role from others, and from one of the same name that is different."""
    text = json.dumps(rule, sort_keys=True)
    return "ansible " + hashlib.sha256(text.encode()).hexdigest()[:16]


def missing(rules, filters):
    """The filters of the variables file that a host does not have."""
    present = {each.get("description") for each in filters}
    return [rule for rule in rules if mark(rule) not in present]


def unwanted(filters, rules):
    """The filters that this role has added to a host, and that are not in the variables file."""
    wanted = {mark(rule) for rule in rules}
    ours = [each for each in filters if each.get("description", "").startswith("ansible ")]
    return [each for each in ours if each["description"] not in wanted]


class FilterModule:
    def filters(self):
        return {
            "postern_arguments": arguments,
            "postern_missing": missing,
            "postern_unwanted": unwanted,
        }
