//! Small files of every kind, with what is right. All figures are made up.

use wafersim_requests::Format;

/// (milliseconds, negative where it is a wait after an answer; prompt; output; session)
pub type Told = (i64, u32, u32, &'static str);

/// A small file.
pub struct Case {
    /// Its name for `load.format`.
    pub format: Format,
    /// Which of the kinds of this name.
    pub name: &'static str,
    /// The file.
    pub text: &'static str,
    /// What is read.
    #[allow(dead_code, reason = "not every test that shares the files looks at it")]
    pub requests: &'static [Told],
    /// Rows that give no request.
    #[allow(dead_code, reason = "not every test that shares the files looks at it")]
    pub left_out: u64,
}

/// Small files of every kind, with what is right. All figures are made up.
pub const CASES: &[Case] = &[
    Case {
        format: Format::Azure,
        name: "Azure LLM inference 2023",
        text: "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 23:59:59.7500000,1201,33\r\n2023-11-17 00:00:01.2500000,9,0\r\n2023-11-17 00:00:02.0000000,77,140",
        requests: &[(0, 1201, 33, ""), (2250, 77, 140, "")],
        left_out: 1,
    },
    Case {
        format: Format::Azure,
        name: "Azure LLM inference 2024",
        text: "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-02-29 09:00:00+00:00,640,12\n2024-02-29 09:00:00.500250+00:00,2048,1\n",
        requests: &[(0, 640, 12, ""), (500, 2048, 1, "")],
        left_out: 0,
    },
    Case {
        format: Format::Azure,
        name: "Azure LMM inference 2025",
        text: "TIMESTAMP,NumImages,ContextTokens,GeneratedTokens\n2024-10-02 00:00:01,2,900,12\n2024-10-02 00:00:03,0,20,1\n",
        requests: &[(0, 900, 12, ""), (2000, 20, 1, "")],
        left_out: 0,
    },
    Case {
        format: Format::BurstGpt,
        name: "BurstGPT with sessions",
        text: "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n4100.5,5f0c2d1e-0000-4000-8000-00000000000a,7,GPT-4,310,95,405,Conversation log\n4103,,2,ChatGPT,88,0,88,API log\n4110,5f0c2d1e-0000-4000-8000-00000000000a,7,GPT-4,600,5,605,Conversation log\n",
        requests: &[
            (0, 310, 95, "5f0c2d1e-0000-4000-8000-00000000000a"),
            (9500, 600, 5, "5f0c2d1e-0000-4000-8000-00000000000a"),
        ],
        left_out: 1,
    },
    Case {
        format: Format::BurstGpt,
        name: "BurstGPT",
        text: "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n12,ChatGPT,240,60,300,API log\n12,\"Chat,GPT\",24,6,30,API log\n",
        requests: &[(0, 240, 60, ""), (0, 24, 6, "")],
        left_out: 0,
    },
    Case {
        format: Format::TraceLab,
        name: "TraceLab (CSV)",
        text: "session_id,arrival_time,round_idx,prefix_len,input_len,output_len,tool_wait_after_ms\n9,250,1,1590,210,60,0\n9,250,0,0,1500,90,400.5\na,100,0,64,36,5,0\n",
        requests: &[(0, 100, 5, "a"), (150, 1500, 90, "9"), (-400, 1800, 60, "9")],
        left_out: 0,
    },
    Case {
        format: Format::TraceLab,
        name: "TraceLab (CSV)",
        text: "id,input_len,output_len,arrival_time,round_idx,tool_wait_after_ms,prefix_len\nx,1500,90,250.000000,0,400.000000,0\n",
        requests: &[(0, 1500, 90, "x")],
        left_out: 0,
    },
    Case {
        format: Format::TraceLab,
        name: "TraceLab (JSON Lines)",
        text: r#"{"provider":"claude","session_id":"claude:x1","round_index":0,"input_tokens_total":1600,"prefix_tokens":1000,"newly_append_tokens":600,"output_tokens":75,"reasoning_output_tokens":null,"timing_events":[{"event_type":"user_message","timestamp":"2026-02-03T04:05:06.000Z"},{"event_type":"text","timestamp":"2026-02-03T04:05:09.500Z"}],"tools":[]}
{"provider":"claude","session_id":"claude:x1","round_index":1,"prefix_tokens":1600,"newly_append_tokens":100,"output_tokens":5,"timing_events":[{"event_type":"tool_result","timestamp":"2026-02-03T04:05:10.750Z"},{"event_type":"tool_call","timestamp":"2026-02-03T04:05:12.500Z"}]}
{"provider":"codex","round_index":0,"prefix_tokens":0,"newly_append_tokens":1,"output_tokens":5,"timing_events":[]}
"#,
        requests: &[(0, 1600, 75, "claude:x1"), (-1250, 1700, 5, "claude:x1")],
        left_out: 1,
    },
    Case {
        format: Format::Vidur,
        name: "Vidur",
        text: "arrived_at,num_prefill_tokens,num_decode_tokens\n0.5,410,22\n1.875,65.9,128.0\n",
        requests: &[(0, 410, 22, ""), (1375, 65, 128, "")],
        left_out: 0,
    },
    Case {
        format: Format::Splitwise,
        name: "splitwise-sim",
        text: "request_id,request_type,application_id,arrival_timestamp,batch_size,prompt_size,token_size\n0,2,0,0.8,1,512,20\n1,2,0,2.1,1,1024,4\n",
        requests: &[(0, 512, 20, ""), (1300, 1024, 4, "")],
        left_out: 0,
    },
    Case {
        format: Format::Plain,
        name: "plain CSV",
        text: "output_tokens,prompt_tokens,arrival_s,session,delay_s,note\n100,500,3600,u 1,,x\n10,700,,u 1,0.25,\n5,50,3601,,,\n",
        requests: &[(0, 500, 100, "u 1"), (-250, 700, 10, "u 1"), (1000, 50, 5, "")],
        left_out: 0,
    },
    Case {
        format: Format::LlmServingSim,
        name: "LLMServingSim, agentic",
        text: r#"{"session_id": "s7", "arrival_time_ns": 9000000, "sub_requests": [{"input_toks": 800, "output_toks": 25, "tool_duration_ns": 60000000}, {"input_toks": 900, "output_toks": 30, "tool_duration_ns": 0}]}
{"input_toks": 320, "output_toks": 40, "arrival_time_ns": 2000000, "input_tok_ids": [1, 2]}
{"arrival_time_ns": 3, "sub_requests": []}
"#,
        requests: &[(0, 320, 40, ""), (7, 800, 25, "s7"), (-60, 900, 30, "s7")],
        left_out: 1,
    },
    Case {
        format: Format::LlmServingSim,
        name: "LLMServingSim, a measured run",
        text: "{\"request_id\": 1, \"input_toks\": 30, \"output_toks\": 4, \"arrival_time\": 1700000001.5, \"first_token_ts\": 3.0}\n{\"request_id\": 0, \"input_toks\": 20, \"output_toks\": 2, \"arrival_time\": 1700000001.25}\n",
        requests: &[(0, 20, 2, ""), (250, 30, 4, "")],
        left_out: 0,
    },
    Case {
        format: Format::Bailian,
        name: "Qwen-Bailian",
        text: r#"{"chat_id": 31, "parent_chat_id": -1, "timestamp": 2.25, "input_length": 50, "output_length": 18, "type": "text", "turn": 1, "hash_ids": [5, 6, 7, 8]}
{"chat_id": 44, "parent_chat_id": 31, "timestamp": 19.5, "input_length": 90, "output_length": 7, "type": "text", "turn": 2, "hash_ids": [5, 6, 7, 20, 21, 22]}
{"chat_id": 45, "parent_chat_id": 7, "timestamp": 19.5, "input_length": 90, "output_length": 7, "turn": 3, "hash_ids": [5, 6, 7, 20, 21]}
"#,
        requests: &[(0, 50, 18, "31"), (17_250, 90, 7, "31"), (17_250, 90, 7, "45")],
        left_out: 0,
    },
    Case {
        format: Format::Mooncake,
        name: "Mooncake",
        text: r#"{"timestamp": 3000, "input_length": 1300, "output_length": 41, "hash_ids": [0, 7, 8]}
{"timestamp": 6000, "input_length": 1610, "output_length": 5, "hash_ids": [0, 7, 9, 18446744073709551615]}
"#,
        requests: &[(0, 1300, 41, ""), (3000, 1610, 5, "")],
        left_out: 0,
    },
    Case {
        format: Format::Mooncake,
        name: "Mooncake with sessions or delays (AIPerf, Dynamo)",
        text: r#"{"session_id": "u1", "timestamp": 40.5, "input_length": 900, "output_length": 30, "hash_ids": [4, 5]}

{"session_id": "u1", "delay": 1500, "input_length": 1100, "output_length": 12, "hash_ids": [4, 5, 6]}
{"session_id": "u2", "timestamp": 50.5, "input_length": 9, "output_length": 1}
"#,
        requests: &[(0, 900, 30, "u1"), (-1500, 1100, 12, "u1"), (10, 9, 1, "u2")],
        left_out: 0,
    },
    Case {
        format: Format::Mooncake,
        name: "Mooncake with sessions or delays (AIPerf, Dynamo)",
        text: "{\"request_id\": \"a\", \"created_time\": 12.5, \"input_tokens\": 700, \"output_tokens\": 20}\n{\"created_time\": 13.5, \"input_tokens\": 70, \"output_tokens\": 2}\n",
        requests: &[(0, 700, 20, ""), (1, 70, 2, "")],
        left_out: 0,
    },
];
