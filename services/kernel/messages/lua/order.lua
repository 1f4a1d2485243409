-- Before fence.lua, and before other scripts that compare entries.

-- Whether the entry id `one` comes before `other`.
local function comes_before(one, other)
    local one_ms, one_no = string.match(one, '^(%d+)-(%d+)$')
    local other_ms, other_no = string.match(other, '^(%d+)-(%d+)$')
    if tonumber(one_ms) ~= tonumber(other_ms) then
        return tonumber(one_ms) < tonumber(other_ms)
    end
    return tonumber(one_no) < tonumber(other_no)
end
