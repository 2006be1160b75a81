-- The places of the users or desktops that a filter names: by id, or by a part of the name (and the id) in any case.
SELECT place - 1 FROM unnest(%(ids)s::text[], %(names)s::text[]) WITH ORDINALITY AS named (id, name, place)
WHERE id <> '' AND (
    id = %(text)s OR strpos(lower(name), lower(%(text)s)) > 0
    OR %(id_in_part)s AND strpos(lower(id), lower(%(text)s)) > 0)
