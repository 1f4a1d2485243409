-- Before each script of a partition's owner: what an owner asks for who has been succeeded is refused.
local GROUP = 'persistence-workers'

-- A Redis that is full refuses a script's first write if that may need memory, and none after one that needs none. What empties the
-- stream must get through then, so it begins with one that does nothing.
redis.call('DEL', 'msg:none')

-- The epoch of a later owner, -2 when `epoch` has not begun here, or nil when it is the latest. Only take_over begins one: a Redis
-- that was emptied would else believe the first to speak, who may have been succeeded long ago.
local function later(partition, epoch)
    local known, asked = tonumber(redis.call('HGET', 'msg:epochs', partition) or '0'), tonumber(epoch)
    if known == asked then
        return nil
    end
    return known > asked and known or -2
end

local function stream_of(partition)
    return 'msg:stream:' .. partition
end

local function now_ms()
    local time = redis.call('TIME')
    return string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
end

-- A flat list of names and values as a table.
local function as_table(flat)
    local found = {}
    for place = 1, #flat, 2 do
        found[flat[place]] = flat[place + 1]
    end
    return found
end

-- The id under which an entry was first accepted: its own unless it says another, as only a replay makes it do. Milliseconds of more
-- digits than these are no time.
local function first_accepted(fields, entry)
    local first = fields['accepted']
    return first and #first <= 40 and string.match(first, '^%d+%-%d+$') and string.find(first, '-', 1, true) <= 15 and first or entry
end

-- What XINFO says of the group on a stream, or nil.
local function group_of(stream)
    local groups = redis.pcall('XINFO', 'GROUPS', stream)
    if groups.err then
        return nil
    end
    for _, flat in ipairs(groups) do
        local group = as_table(flat)
        if group['name'] == GROUP then
            return group
        end
    end
    return nil
end

-- The id of the oldest entry that was delivered and not settled, or nil.
local function oldest_pending(stream)
    local pending = redis.call('XPENDING', stream, GROUP)
    return pending[1] > 0 and pending[2] or nil
end

-- Whether a new partition still waits for entries of its parent that were there before it was made.
local function waits(partition)
    local barrier = redis.call('HGETALL', 'msg:barrier:' .. partition)
    if #barrier == 0 then
        return false
    end
    barrier = as_table(barrier)
    local parent = stream_of(barrier['parent'])
    local group = group_of(parent)
    if not group then
        return redis.call('EXISTS', parent) == 1
    end
    if comes_before(group['last-delivered-id'], barrier['last']) then
        return true
    end
    local oldest = oldest_pending(parent)
    if oldest and not comes_before(barrier['last'], oldest) then
        return true
    end
    redis.call('DEL', 'msg:barrier:' .. partition)
    return false
end
