"""Tiny configurations of each family, counted by the `transformers` package: makes families.json beside this file.

python3 families.py, with transformers 5.24 and torch 2.6. Parameters are those of a model on the meta device (with the
buffers of routers' corrections); active ones have top-k of the experts; the KV cache is the growth of a real pass's
by one token.
"""

import json
from pathlib import Path

import torch
import transformers.models.llama.modeling_llama  # Others fail to import where none was imported before.
from transformers import CONFIG_MAPPING, AutoModelForCausalLM
from transformers.models.mistral4.modeling_mistral4 import Mistral4Model
from transformers.models.step3p7.modeling_step3p7 import Step3p7TextModel

BASE = dict(
    hidden_size=96,
    num_hidden_layers=3,
    num_attention_heads=6,
    num_key_value_heads=2,
    vocab_size=320,
    intermediate_size=160,
    max_position_embeddings=512,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
)

FAMILIES = {
    'llama': dict(),
    'mistral': dict(
        head_dim=20, sliding_window=None,
    ),
    'ministral': dict(
        head_dim=16, sliding_window=32, layer_types=['full_attention', 'sliding_attention', 'sliding_attention'],
    ),
    'ministral3': dict(
        head_dim=20,
    ),
    'mixtral': dict(
        num_local_experts=4, num_experts_per_tok=2,
    ),
    'qwen2': dict(),
    'qwen2_moe': dict(
        num_experts=8, num_experts_per_tok=2, moe_intermediate_size=40, shared_expert_intermediate_size=56,
        norm_topk_prob=False,
    ),
    'qwen3': dict(
        head_dim=24,
    ),
    'qwen3_moe': dict(
        num_experts=8, num_experts_per_tok=2, moe_intermediate_size=40, head_dim=24,
    ),
    'qwen3_next': dict(
        num_experts=8, num_experts_per_tok=2, moe_intermediate_size=40, linear_num_key_heads=2,
        linear_num_value_heads=4, linear_key_head_dim=8, linear_value_head_dim=12, linear_conv_kernel_dim=4,
        head_dim=24, shared_expert_intermediate_size=56, num_hidden_layers=4,
    ),
    'qwen3_5_text': dict(
        linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=8, linear_value_head_dim=12,
        linear_conv_kernel_dim=4, head_dim=24, num_hidden_layers=4,
    ),
    'qwen3_5_moe_text': dict(
        num_experts=8, num_experts_per_tok=2, moe_intermediate_size=40, linear_num_key_heads=2,
        linear_num_value_heads=4, linear_key_head_dim=8, linear_value_head_dim=12, linear_conv_kernel_dim=4,
        head_dim=24, shared_expert_intermediate_size=56, num_hidden_layers=4,
    ),
    'gpt_oss': dict(
        num_local_experts=4, num_experts_per_tok=2, head_dim=16, sliding_window=32,
    ),
    'glm': dict(
        head_dim=16,
    ),
    'glm4': dict(
        head_dim=16,
    ),
    'glm4_moe': dict(
        n_routed_experts=8, num_experts_per_tok=2, moe_intermediate_size=40, n_shared_experts=1,
        first_k_dense_replace=1, n_group=1, topk_group=1, head_dim=16, use_qk_norm=True,
    ),
    'glm4_moe_lite': dict(
        n_routed_experts=8, num_experts_per_tok=2, moe_intermediate_size=40, n_shared_experts=1,
        first_k_dense_replace=1, n_group=1, topk_group=1, q_lora_rank=48, kv_lora_rank=32, qk_nope_head_dim=16,
        qk_rope_head_dim=8, v_head_dim=12, num_key_value_heads=6, num_hidden_layers=4,
        mlp_layer_types=['dense', 'sparse', 'sparse', 'sparse'],
    ),
    'deepseek_v2': dict(
        q_lora_rank=48, kv_lora_rank=32, qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=12,
        num_key_value_heads=6, n_routed_experts=8, num_experts_per_tok=2, moe_intermediate_size=40,
        n_shared_experts=1, first_k_dense_replace=1, n_group=1, topk_group=1, topk_method='greedy',
        norm_topk_prob=False,
    ),
    'deepseek_v3': dict(
        q_lora_rank=48, kv_lora_rank=32, qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=12,
        num_key_value_heads=6, n_routed_experts=8, num_experts_per_tok=2, moe_intermediate_size=40,
        n_shared_experts=1, first_k_dense_replace=1, n_group=1, topk_group=1,
    ),
    'deepseek_v32': dict(
        q_lora_rank=48, kv_lora_rank=32, qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=12,
        num_key_value_heads=6, n_routed_experts=8, num_experts_per_tok=2, moe_intermediate_size=40,
        n_shared_experts=1, first_k_dense_replace=1, n_group=1, topk_group=1, index_n_heads=4, index_head_dim=16,
        index_topk=64,
    ),
    'glm_moe_dsa': dict(
        q_lora_rank=48, kv_lora_rank=32, qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=12,
        num_key_value_heads=6, n_routed_experts=8, num_experts_per_tok=2, moe_intermediate_size=40,
        n_shared_experts=1, first_k_dense_replace=1, n_group=1, topk_group=1, index_n_heads=4, index_head_dim=16,
        index_topk=64, mlp_layer_types=['dense', 'sparse', 'sparse'],
    ),
    'minimax_m2': dict(
        num_local_experts=8, num_experts_per_tok=2, head_dim=24, rotary_dim=12,
    ),
    'gemma': dict(
        head_dim=24,
    ),
    'gemma2': dict(
        head_dim=24, sliding_window=32,
    ),
    'gemma3_text': dict(
        head_dim=24, sliding_window=32, num_hidden_layers=6,
    ),
    'phi3': dict(
        pad_token_id=0,
    ),
    'olmo': dict(),
    'olmo2': dict(),
    'olmo3': dict(
        num_hidden_layers=4, sliding_window=32,
    ),
    'olmoe': dict(
        num_experts=8, num_experts_per_tok=2,
    ),
    'flex_olmo': dict(
        num_experts=8, num_experts_per_tok=2,
    ),
    'ernie4_5': dict(
        head_dim=24,
    ),
    'ernie4_5_moe': dict(
        moe_num_experts=8, moe_k=2, moe_intermediate_size=40, moe_num_shared_experts=2, moe_layer_start_index=1,
    ),
    'granite': dict(),
    'granitemoe': dict(
        num_local_experts=4, num_experts_per_tok=2,
    ),
    'granitemoeshared': dict(
        num_local_experts=4, num_experts_per_tok=2, shared_intermediate_size=56,
    ),
    'granitemoehybrid': dict(
        mamba_n_heads=4, mamba_d_head=48, mamba_expand=2, num_local_experts=4, num_experts_per_tok=2,
        shared_intermediate_size=56, layer_types=['attention', 'attention', 'attention'],
    ),
    'hunyuan_v1_dense': dict(
        head_dim=16,
    ),
    'hunyuan_v1_moe': dict(
        head_dim=16, num_experts=4, moe_topk=[2, 2, 2],
    ),
    'seed_oss': dict(
        head_dim=24,
    ),
    'cohere': dict(),
    'cohere2': dict(
        sliding_window=32, num_hidden_layers=4,
    ),
    'smollm3': dict(
        num_hidden_layers=4,
    ),
    'exaone4': dict(
        num_hidden_layers=4, sliding_window=32, sliding_window_pattern=4,
    ),
    'dots1': dict(
        n_routed_experts=8, num_experts_per_tok=2, moe_intermediate_size=40, n_shared_experts=1,
        first_k_dense_replace=1, n_group=1, topk_group=1,
    ),
    'solar_open': dict(
        n_routed_experts=8, num_experts_per_tok=2, moe_intermediate_size=40, n_shared_experts=1,
        first_k_dense_replace=1, n_group=1, topk_group=1, head_dim=24,
    ),
    'exaone_moe': dict(
        num_experts=8, num_experts_per_tok=2, moe_intermediate_size=40, num_shared_experts=1, first_k_dense_replace=1,
        num_hidden_layers=4, n_group=1, topk_group=1, sliding_window=32,
    ),
    'helium': dict(
        head_dim=16,
    ),
    'llama4_text': dict(
        num_local_experts=4, num_experts_per_tok=1, intermediate_size_mlp=200, head_dim=16, attention_chunk_size=64,
        num_hidden_layers=4,
    ),
    'step3p5': dict(
        head_dim=24, n_routed_experts=8, num_experts_per_tok=2, moe_intermediate_size=40, share_expert_dim=56,
        sliding_window=32, num_hidden_layers=5, num_sliding_attention_heads=8, moe_router_scaling_factor=3.0,
        layer_types=['full_attention', *3 * ['sliding_attention'], 'full_attention'],
    ),
    'youtu': dict(
        q_lora_rank=48, kv_lora_rank=32, qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=12,
        num_key_value_heads=6,
    ),
    'gemma4_text': dict(
        head_dim=24, global_head_dim=32, num_global_key_value_heads=1, attention_k_eq_v=True, enable_moe_block=True,
        num_experts=8, top_k_experts=2, moe_intermediate_size=40, hidden_size_per_layer_input=0, sliding_window=32,
        num_hidden_layers=6, num_kv_shared_layers=0,
    ),
    'gemma4_text dense': dict(
        head_dim=24, global_head_dim=32, num_global_key_value_heads=3, attention_k_eq_v=True,
        hidden_size_per_layer_input=0, sliding_window=32, num_hidden_layers=7, num_kv_shared_layers=0,
    ),
    'gemma4_text own values': dict(
        head_dim=24, global_head_dim=32, attention_k_eq_v=False, hidden_size_per_layer_input=0, sliding_window=32,
        num_hidden_layers=6, num_kv_shared_layers=0,
    ),
    'hy_v3': dict(
        num_experts=8, num_experts_per_tok=2, moe_intermediate_size=40,
    ),
    'mimo_v2_flash': dict(
        head_dim=24, v_head_dim=16, n_routed_experts=8, num_experts_per_tok=2, moe_intermediate_size=40, n_group=1,
        topk_group=1, num_key_value_heads=1, num_hidden_layers=7, sliding_window=33,
    ),
    'mistral4': dict(
        q_lora_rank=48, kv_lora_rank=32, qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=12,
        num_key_value_heads=6, n_routed_experts=8, num_experts_per_tok=2, moe_intermediate_size=40,
        n_shared_experts=1, n_group=1, topk_group=1,
    ),
    'sarvam_mla': dict(
        kv_lora_rank=32, qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=12, num_key_value_heads=6,
        n_routed_experts=8, num_experts_per_tok=2, moe_intermediate_size=40, n_shared_experts=1, n_group=1,
        topk_group=1,
    ),
    'sarvam_moe': dict(
        n_routed_experts=8, num_experts_per_tok=2, moe_intermediate_size=40, n_shared_experts=1, n_group=1,
        topk_group=1, head_dim=24,
    ),
    'mellum': dict(
        num_local_experts=8, num_experts_per_tok=2, moe_intermediate_size=40, head_dim=24, sliding_window=32,
        layer_types=['full_attention', 'sliding_attention', 'full_attention'],
    ),
    'internlm3': dict(
        head_dim=24,
    ),
    'iquestcoder': dict(
        head_dim=24,
    ),
    'cwm': dict(
        head_dim=24, sliding_window=32, num_hidden_layers=5,
    ),
    'afmoe': dict(
        num_experts=8, num_experts_per_tok=2, moe_intermediate_size=40, num_shared_experts=1, num_dense_layers=1,
        num_hidden_layers=4, head_dim=24,
    ),
}

# Keys of a configuration that stand in the file; the others are the family's defaults.
KEPT = set("""
layer_types mlp_layer_types rope_parameters rms_norm_eps tie_word_embeddings attention_bias norm_topk_prob
layer_norm_eps
use_qk_norm topk_method scoring_func no_rope_layers sliding_window sliding_window_pattern per_layer_config moe_layers mlp_bias use_bias
qkv_bias global_head_dim full_attention_interval head_dim moe_layer_end_index moe_layer_interval n_group topk_group
attention_out_bias norm_eps num_local_experts n_routed_experts num_sliding_attention_heads share_expert_dim
""".split())


def first(settings, *keys):
    return next((settings[key] for key in keys if settings.get(key)), None)


def counted(name, extra):
    keys = {**BASE, **extra}
    config = CONFIG_MAPPING[name.split()[0]](**keys)
    # Of some the package has the text model without its head.
    headless = {"step3p5": Step3p7TextModel._from_config, "mistral4": Mistral4Model._from_config}.get(name)
    make = headless or AutoModelForCausalLM.from_config
    with torch.device("meta"):
        model = make(config)
        head = {"lm_head": torch.empty(config.vocab_size, config.hidden_size)}
    tensors = head if headless else {}
    tensors |= dict(model.named_parameters())
    tensors |= {key: value for key, value in model.named_buffers() if "correction" in key or "bias" in key}
    settings = config.to_dict()
    experts = first(settings, "num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts")
    top_k = first(settings, "num_experts_per_tok", "moe_k", "top_k_experts")
    top_k = settings["moe_topk"][0] if name == "hunyuan_v1_moe" else top_k

    def active(key, tensor):
        is_expert = ".experts." in key and tensor.dim() >= 2 and tensor.shape[0] == experts
        return tensor.numel() * top_k // experts if is_expert else tensor.numel()

    def cached(tokens):
        result = real(torch.randint(3, 300, (1, tokens)), use_cache=True)
        kinds = ("keys", "values", "indexer_keys")
        parts = [getattr(layer, part, None) for layer in result.past_key_values.layers for part in kinds]
        return sum(part.numel() for part in parts if part is not None)

    real = make(config).eval().float()
    kept = {key: value for key, value in settings.items() if value is not None and key in KEPT | set(keys)}
    for key in ("pad_token_id", "bos_token_id", "eos_token_id"):
        kept.pop(key, None)
    return {
        "parameters": sum(tensor.numel() for tensor in tensors.values()),
        "active": sum(active(key, tensor) for key, tensor in tensors.items()),
        "kv_elements_per_token": cached(6) - cached(5),
        "config": {**kept, "model_type": name, "architectures": [type(model).__name__]},
    }


lines = [f" {json.dumps(name)}: {json.dumps(counted(name, extra))}" for name, extra in sorted(FAMILIES.items())]
Path(__file__).with_name("families.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
