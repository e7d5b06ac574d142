"""Tiny configurations of each family, counted by the transformers package: crates/spec/tests/data/families."""
import json, sys, warnings, os
warnings.filterwarnings('ignore')
os.environ['TRANSFORMERS_VERBOSITY']='error'
import torch, transformers
from transformers import CONFIG_MAPPING, AutoModelForCausalLM
B=dict(hidden_size=96,num_hidden_layers=3,num_attention_heads=6,num_key_value_heads=2,vocab_size=320,intermediate_size=160,max_position_embeddings=512,pad_token_id=0,bos_token_id=1,eos_token_id=2)
MOE=dict(num_experts=8,num_experts_per_tok=2,moe_intermediate_size=40)
MLA=dict(q_lora_rank=48,kv_lora_rank=32,qk_nope_head_dim=16,qk_rope_head_dim=8,v_head_dim=12,num_key_value_heads=6)
DS=dict(n_routed_experts=8,num_experts_per_tok=2,moe_intermediate_size=40,n_shared_experts=1,first_k_dense_replace=1,n_group=1,topk_group=1)
LIN=dict(linear_num_key_heads=2,linear_num_value_heads=4,linear_key_head_dim=8,linear_value_head_dim=12,linear_conv_kernel_dim=4)
T={
'llama':{}, 'mistral':dict(head_dim=20,sliding_window=None),'ministral':dict(head_dim=16,sliding_window=32,layer_types=['full_attention','sliding_attention','sliding_attention']),'ministral3':dict(head_dim=20),
'mixtral':dict(num_local_experts=4,num_experts_per_tok=2),
'qwen2':{}, 'qwen2_moe':dict(**MOE,shared_expert_intermediate_size=56,norm_topk_prob=False), 'qwen3':dict(head_dim=24), 'qwen3_moe':dict(**MOE,head_dim=24),
'qwen3_next':dict(**MOE,**LIN,head_dim=24,shared_expert_intermediate_size=56,num_hidden_layers=4),
'qwen3_5_text':dict(**LIN,head_dim=24,num_hidden_layers=4),
'qwen3_5_moe_text':dict(**MOE,**LIN,head_dim=24,shared_expert_intermediate_size=56,num_hidden_layers=4),
'gpt_oss':dict(num_local_experts=4,num_experts_per_tok=2,head_dim=16,sliding_window=32),
'glm':dict(head_dim=16),'glm4':dict(head_dim=16),
'glm4_moe':dict(**DS,head_dim=16,use_qk_norm=True), 'glm4_moe_lite':dict(**DS,**MLA,num_hidden_layers=4,mlp_layer_types=['dense','sparse','sparse','sparse']),
'deepseek_v2':dict(**MLA,**{**DS,'topk_method':'greedy'},norm_topk_prob=False), 'deepseek_v3':dict(**MLA,**DS),
'deepseek_v32':dict(**MLA,**DS,index_n_heads=4,index_head_dim=16,index_topk=64),
'glm_moe_dsa':dict(**MLA,**DS,index_n_heads=4,index_head_dim=16,index_topk=64,mlp_layer_types=['dense','sparse','sparse']),
'minimax_m2':dict(num_local_experts=8,num_experts_per_tok=2,head_dim=24,rotary_dim=12),
'gemma':dict(head_dim=24),'gemma2':dict(head_dim=24,sliding_window=32),'gemma3_text':dict(head_dim=24,sliding_window=32,num_hidden_layers=6),
'phi3':dict(pad_token_id=0),
'olmo':{}, 'olmo2':{}, 'olmo3':dict(num_hidden_layers=4,sliding_window=32), 'olmoe':dict(num_experts=8,num_experts_per_tok=2),'flex_olmo':dict(num_experts=8,num_experts_per_tok=2),
'ernie4_5':dict(head_dim=24), 'ernie4_5_moe':dict(moe_num_experts=8,moe_k=2,moe_intermediate_size=40,moe_num_shared_experts=2,moe_layer_start_index=1),
'granite':{}, 'granitemoe':dict(num_local_experts=4,num_experts_per_tok=2), 'granitemoeshared':dict(num_local_experts=4,num_experts_per_tok=2,shared_intermediate_size=56),
'granitemoehybrid':dict(mamba_n_heads=4,mamba_d_head=48,mamba_expand=2,num_local_experts=4,num_experts_per_tok=2,shared_intermediate_size=56,layer_types=['attention']*3),
'hunyuan_v1_dense':dict(head_dim=16), 'hunyuan_v1_moe':dict(head_dim=16,num_experts=4,moe_topk=[2,2,2]),
'seed_oss':dict(head_dim=24), 'cohere':dict(), 'cohere2':dict(sliding_window=32,num_hidden_layers=4),
'smollm3':dict(num_hidden_layers=4), 'exaone4':dict(num_hidden_layers=4,sliding_window=32,sliding_window_pattern=4),
'dots1':dict(**DS), 'solar_open':dict(**{**DS},head_dim=24),'exaone_moe':dict(num_experts=8,num_experts_per_tok=2,moe_intermediate_size=40,num_shared_experts=1,first_k_dense_replace=1,num_hidden_layers=4,n_group=1,topk_group=1,sliding_window=32),
'helium':dict(head_dim=16),'llama4_text':dict(num_local_experts=4,num_experts_per_tok=1,intermediate_size_mlp=200,head_dim=16,attention_chunk_size=64,num_hidden_layers=4),
'youtu':dict(**MLA),
'gemma4_text':dict(head_dim=24,global_head_dim=32,num_global_key_value_heads=1,attention_k_eq_v=True,enable_moe_block=True,num_experts=8,top_k_experts=2,moe_intermediate_size=40,hidden_size_per_layer_input=0,sliding_window=32,num_hidden_layers=6,num_kv_shared_layers=0),
'step3p5':dict(num_hidden_layers=4),
'hy_v3':dict(num_experts=8,num_experts_per_tok=2,moe_intermediate_size=40),
'afmoe':dict(num_experts=8,num_experts_per_tok=2,moe_intermediate_size=40,num_shared_experts=1,num_dense_layers=1,num_hidden_layers=4,head_dim=24),
}
only=sys.argv[1:]; import transformers.models.llama.modeling_llama
res={}
for name,extra in T.items():
    if only and name not in only: continue
    kw={**B,**extra}
    if name.startswith('deepseek') or name.startswith('glm'): pass
    try:
        C=CONFIG_MAPPING[name]; c=C(**kw)
        with torch.device('meta'):
            m=AutoModelForCausalLM.from_config(c)
        ps=dict(m.named_parameters())
        bufs={k:v for k,v in m.named_buffers() if 'correction' in k or 'bias' in k}
        tot=sum(p.numel() for p in ps.values())+sum(b.numel() for b in bufs.values())
        d=c.to_dict()
        E=d.get('num_experts') or d.get('n_routed_experts') or d.get('num_local_experts') or d.get('moe_num_experts')
        K=d.get('num_experts_per_tok') or d.get('moe_k') or d.get('top_k_experts')
        K=(d.get('moe_topk') or [K])[0] if name=='hunyuan_v1_moe' else K
        act=0
        for k,p in list(ps.items())+list(bufs.items()):
            isexp=('.experts.' in k or k.startswith('experts.') or '.block_sparse_moe.input_linear' in k or '.block_sparse_moe.output_linear' in k) and p.shape[0]==E and p.dim()>=2
            act+=p.numel()*K//E if isexp else p.numel()
        kv=None
        try:
            torch.manual_seed(0)
            m2=AutoModelForCausalLM.from_config(c).eval().float()
            from transformers import DynamicCache
            def cached(n):
                out=m2(torch.randint(3,300,(1,n)),use_cache=True); s=0
                for l in out.past_key_values.layers:
                    for a in ('keys','values'):
                        t=getattr(l,a,None)
                        if t is not None: s+=t.numel()
                return s
            kv=cached(6)-cached(5)
        except Exception as e: print(name,'kv:',repr(e)[:150],file=sys.stderr)
        r=dict(parameters=tot,active=act,kv_elements_per_token=kv)
        res[name]=r
        d={k:v for k,v in d.items() if v is not None and k in set(kw)|{'layer_types','mlp_layer_types','rope_parameters','rms_norm_eps','tie_word_embeddings','attention_bias','norm_topk_prob','model_type','layer_norm_eps','use_qk_norm','topk_method','scoring_func','no_rope_layers','sliding_window','sliding_window_pattern','moe_layers','mlp_bias','use_bias','qkv_bias','architectures','global_head_dim','full_attention_interval','head_dim','moe_layer_end_index','moe_layer_interval','n_group','topk_group','attention_out_bias','norm_eps','num_local_experts','n_routed_experts'}}
        for k in ('pad_token_id','bos_token_id','eos_token_id'): d.pop(k,None)
        d['model_type']=name; d['architectures']=[type(m).__name__]
        json.dump(d,open(f'out/{name}.json','w'),indent=1)
        print(name,r)
        if os.environ.get('SHOW'):
            for k,p in list(ps.items())+list(bufs.items()): print('   ',k,tuple(p.shape))
    except Exception as e:
        print('!!',name,repr(e)[:300])
if not only: json.dump(res,open('out/counts.json','w'),indent=1)
