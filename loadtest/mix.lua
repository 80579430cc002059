-- The requests that wrk sends. Each thread has one connection, so each answer belongs to the
-- thread's last request; this script times it and notes its status. (wrk's own percentiles include
-- requests that it never sent, and do not count refused ones apart.)
--
-- Arguments: the kind (mix, searches, writes, batches, nothing, tools, legacy-tools), the first
-- text, the number of different texts (0: all differ), the number of agents, of users of each, of
-- memories in a batch, of threads, the path of sentences.txt, the path of the JSON result.

local ffi = require("ffi")
ffi.cdef [[
    typedef struct { long tv_sec; long tv_nsec; } bench_time;
    int clock_gettime(int clock, bench_time *time);
]]
local MONOTONIC, SPREAD = 1, 30011
local clock = ffi.new("bench_time")

local function now_us()
    ffi.C.clock_gettime(MONOTONIC, clock)
    return tonumber(clock.tv_sec) * 1000000 + tonumber(clock.tv_nsec) / 1000
end

-- wrk runs this in its main state: numbers the threads and tells each the path of the result.

local threads = {}

function setup(thread)
    thread:set("thread_number", #threads)
    table.insert(threads, thread)
end

-- From here on in the state of each thread.

local kind, calls_tools, first_text, different, agents, users, batch
local parts, combinations = {{}}, 1
local calls, made, sent_us = 0, 0, 0
local thread_count = 1
times_us = {}  -- "status time status time …" of each answer; global, so that done() can get it
result_path = ""

local function read_parts(path)
    for line in io.lines(path) do
        if line == "" then
            table.insert(parts, {})
        else
            table.insert(parts[#parts], line)
        end
    end
    for _, choices in ipairs(parts) do combinations = combinations * #choices end
end

local function text(number)
    local rest = number % combinations
    for _ = 1, 2 do rest = rest * SPREAD % combinations end
    local words, sentences = {}, {}
    for _, choices in ipairs(parts) do
        local choice = choices[rest % #choices + 1]
        rest = math.floor(rest / #choices)
        if choice ~= "-" then
            table.insert(choice:sub(-1) == "." and sentences or words, choice)
        end
    end
    table.insert(sentences, 1, table.concat(words, " ") .. ".")
    return table.concat(sentences, " ")
end

local function next_text()
    if different > 0 then return text(first_text + math.random(0, different - 1)) end
    local number = first_text + made * thread_count + thread_number
    made = made + 1
    return text(number)
end

local function entry(field)
    return string.format(
        '{"agent_id":"agent-%d","user_id":"user-%d","%s":"%s"}',
        math.random(0, agents - 1), math.random(0, users - 1), field, next_text()
    )
end

local function post(path, body)
    return wrk.format("POST", path, nil, body)
end

local function search() return post("/v1/memories/search", entry("query")) end
local function write() return post("/v1/memories", entry("content")) end

local MODERN = "2026-07-28"
local META = '"_meta":{"io.modelcontextprotocol/protocolVersion":"' .. MODERN ..
    '","io.modelcontextprotocol/clientCapabilities":{}},'

local function call_tool(meta, headers)
    headers["Content-Type"] = "application/json"
    headers["Accept"] = "application/json, text/event-stream"
    return wrk.format("POST", "/mcp", headers, string.format(
        '{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{%s"name":"search_memories",' ..
        '"arguments":%s}}', calls, meta, entry("query")
    ))
end

local makers = {
    tools = function()
        return call_tool(META, {
            ["MCP-Protocol-Version"] = MODERN,
            ["Mcp-Method"] = "tools/call",
            ["Mcp-Name"] = "search_memories",
        })
    end,
    ["legacy-tools"] = function()
        return call_tool("", {["MCP-Protocol-Version"] = "2025-11-25"})
    end,
    searches = search,
    writes = write,
    mix = function()  -- every fourth request is a write; each thread starts elsewhere in the four
        return (calls + thread_number) % 4 == 3 and write() or search()
    end,
    batches = function()
        local entries = {}
        for n = 1, batch do entries[n] = entry("content") end
        return post("/v1/memories/batch", '{"memories":[' .. table.concat(entries, ",") .. "]}")
    end,
    nothing = function() return wrk.format("GET", "/v1/nothing") end,
}

function init(arguments)
    kind, result_path = arguments[1], arguments[9]
    first_text, different = tonumber(arguments[2]), tonumber(arguments[3])
    agents, users, batch = tonumber(arguments[4]), tonumber(arguments[5]), tonumber(arguments[6])
    thread_count = tonumber(arguments[7])
    calls_tools = kind:find("tools") ~= nil
    read_parts(arguments[8])
    math.randomseed(first_text + thread_number + 1)
    wrk.headers["Content-Type"] = "application/json"
end

function request()
    local made_request = makers[kind]()
    calls = calls + 1
    sent_us = now_us()
    return made_request
end

function response(status, _headers, body)
    -- A tool's error has status 200.
    if calls_tools and not body:find('"left_out":', 1, true) then status = 599 end
    table.insert(times_us, status)
    table.insert(times_us, math.floor(now_us() - sent_us + 0.5))
end

-- In the main state again, after the last answer.

function done(summary, _latency, _requests)
    local answers = {}
    for _, thread in ipairs(threads) do
        local times = thread:get("times_us")
        for n = 1, #times do table.insert(answers, times[n]) end
    end
    local errors = summary.errors
    local file = assert(io.open(threads[1]:get("result_path"), "w"))
    file:write(string.format(
        '{"duration_us":%d,"connect":%d,"read":%d,"write":%d,"timeout":%d,"answers":[%s]}',
        summary.duration, errors.connect, errors.read, errors.write, errors.timeout,
        table.concat(answers, ",")
    ))
    file:close()
end
