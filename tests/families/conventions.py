"""Tiny models in the conventions of eight families: special tokens, chat templates, end tokens, contexts; and in the
shapes of seven.

The templates are our own, each as short as what it stands for allows: which role tokens there are, what ends a turn and
what follows it, where the system message goes, what is trimmed or left out. A shape is what a model's config says: how
heads share keys, whether input and output share a table, windows, positions. Weights are random.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Family:
    """How a family's models differ from others in what matters to rows."""

    template: str
    special: tuple[str, ...]
    eos: str
    bos: str | None = None
    pad: str | None = None
    stops: tuple[str, ...] = ()  # what generation_config names beside the tokenizer's
    system: bool = True  # there is a place for a system message


ASK = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
HEADER = "'<|start_header_id|>' + m.role + '<|end_header_id|>\n\n'"
FAMILIES = {
    "chatml": Family(  # SmolLM2, Qwen2.5: a system message of its own where there is none, a line break after the end
        "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}{% endif %}"
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}" + ASK,
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        eos="<|im_end|>",
        pad="<|endoftext|>",
        stops=("<|endoftext|>",),
    ),
    "qwen3": Family(  # thinking stays in the last turn only; where there is none, an empty one is written
        "{% for m in messages %}{% set text = m.content or '' %}{% set thought = m.reasoning_content or '' %}"
        "{% if '</think>' in text %}{% set thought = text.split('</think>')[0].split('<think>')[-1].strip() %}"
        "{% set text = text.split('</think>')[-1].lstrip() %}{% endif %}{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.role == 'assistant' and loop.last %}{{ '<think>\n' + thought + '\n</think>\n\n' }}{% endif %}{{ text }}"
        "{% for call in m.tool_calls or [] %}{{ '\n<tool_call>\n' + (call.function | tojson) + '\n</tool_call>' }}"
        "{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}" + ASK,
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>", "</tool_call>"),
        eos="<|im_end|>",
        pad="<|endoftext|>",
        stops=("<|endoftext|>",),
    ),
    "llama3": Family(  # trims; its tokenizer has no pad token
        "{{ bos_token }}{% for m in messages %}{{ " + HEADER + " + m.content | trim + '<|eot_id|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
        ("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"),
        eos="<|eot_id|>",
        bos="<|begin_of_text|>",
        stops=("<|end_of_text|>",),
    ),
    "gemma": Family(  # the tokenizer's end token is not the turn's; the system message goes before the first question
        "{{ bos_token }}{% set first = messages[0].content + '\n\n' if messages[0].role == 'system' else '' %}"
        "{% for m in messages if m.role != 'system' %}"
        "{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else 'user') + '\n' }}"
        "{% if loop.first %}{{ first }}{% endif %}{{ m.content | trim + '<end_of_turn>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}",
        ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"),
        eos="<eos>",
        bos="<bos>",
        pad="<pad>",
        stops=("<end_of_turn>",),
    ),
    "mistral": Family(  # no generation prompt; a blank before the answer
        "{{ bos_token }}{% set first = messages[0].content + '\n\n' if messages[0].role == 'system' else '' %}"
        "{% for m in messages if m.role != 'system' %}{% if m.role == 'user' %}"
        "{{ '[INST] ' + (first if loop.first else '') + m.content + ' [/INST]' }}"
        "{% else %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}",
        ("<unk>", "<s>", "</s>", "[INST]", "[/INST]"),
        eos="</s>",
        bos="<s>",
    ),
    "phi3": Family(  # after the last turn comes the tokenizer's end token too
        "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}",
        ("<unk>", "<s>", "<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
        eos="<|endoftext|>",
        bos="<s>",
        pad="<|endoftext|>",
        stops=("<|end|>", "<|assistant|>"),
    ),
    "r1": Family(  # takes thinking out of every answer
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}{% elif m.role == 'user' %}"
        "{{ '<|User|>' + m.content }}{% else %}{{ '<|Assistant|>' + m.content.split('</think>')[-1] + eos_token }}"
        "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|Assistant|>' }}{% endif %}",
        ("<s>", "</s>", "<|User|>", "<|Assistant|>", "<think>", "</think>"),
        eos="</s>",
        bos="<s>",
        pad="</s>",
    ),
    "zephyr": Family(  # role markers that are no special tokens, and the system message is refused
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system message here') }}{% endif %}"
        "{{ '<|' + m.role + '|>\n' + m.content + eos_token + '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}",
        ("<unk>", "<s>", "</s>"),
        eos="</s>",
        bos="<s>",
        pad="</s>",
        system=False,
    ),
}
TEXT = ["Is the gate open? yes, it is.", "Be brief, in one word.", "user assistant system model", "0123456789"] * 3


@dataclass(frozen=True)
class Shape:
    """What decides a model besides its tokenizer: names in transformers, the config, and how its weights are saved."""

    model: str = "LlamaForCausalLM"
    config: str = "LlamaConfig"
    settings: dict = field(default_factory=dict)
    dtype: str = "float32"
    shard: str = "1GB"


SIZE = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
GROUPED = SIZE | {"num_attention_heads": 4, "num_key_value_heads": 2}
LLAMA = Shape(settings=GROUPED | {"tie_word_embeddings": True})
ROPE_3 = {"factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
SHAPES = {  # (conventions, shape) of
    "SmolLM2-135M": ("chatml", Shape(settings=GROUPED | {"tie_word_embeddings": True}, dtype="bfloat16")),
    "Qwen3-0.6B": (  # heads wider than the model divided by their number, each with a norm of its own
        "qwen3",
        Shape("Qwen3ForCausalLM", "Qwen3Config", GROUPED | {"head_dim": 32, "tie_word_embeddings": True}, "bfloat16"),
    ),
    "Llama-3.2-1B": (
        "llama3",
        Shape(
            settings=GROUPED
            | {
                "tie_word_embeddings": True,
                "rope_parameters": {"rope_type": "llama3", "rope_theta": 500000.0, **ROPE_3},
            },
            dtype="bfloat16",
        ),
    ),
    "Gemma-3-1B": (  # every second layer sees only a window; the embeddings are scaled; norms on both sides
        "gemma",
        Shape(
            "Gemma3ForCausalLM",
            "Gemma3TextConfig",
            GROUPED
            | {
                "head_dim": 16,
                "sliding_window": 8,
                "layer_types": ["sliding_attention", "full_attention"],
                "query_pre_attn_scalar": 16,
                "tie_word_embeddings": True,
            },
            "bfloat16",
        ),
    ),
    "Mistral-7B": (  # untied, in several files, and no layer sees further than the window
        "mistral",
        Shape(
            "MistralForCausalLM",
            "MistralConfig",
            GROUPED | {"sliding_window": 8, "tie_word_embeddings": False},
            "bfloat16",
            shard="60KB",
        ),
    ),
    "Bloom": ("chatml", Shape("BloomForCausalLM", "BloomConfig", {"hidden_size": 64, "n_layer": 2, "n_head": 4})),
    "Mamba": (
        "chatml",
        Shape("MambaForCausalLM", "MambaConfig", {"hidden_size": 64, "num_hidden_layers": 2, "state_size": 8}),
    ),
}


def make(
    folder: Path,
    family: Family,
    context: int = 256,
    weights: bool = False,
    shape: Shape = LLAMA,
    **tokenizer_settings,
) -> Path:
    """Write a family's tokenizer and configs to the folder, and a random two-layer model of that shape if asked."""
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import GenerationConfig, PreTrainedTokenizerFast

    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    pieces.train_from_iterator(
        TEXT,
        trainers.BpeTrainer(
            vocab_size=350, special_tokens=list(family.special), initial_alphabet=alphabet, show_progress=False
        ),
    )
    if family.bos:
        begin = [(family.bos, pieces.token_to_id(family.bos))]
        pieces.post_processor = processors.TemplateProcessing(single=f"{family.bos} $A", special_tokens=begin)
    named = {"eos_token": family.eos, "bos_token": family.bos, "pad_token": family.pad}
    named = {key: value for key, value in named.items() if value} | tokenizer_settings
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=pieces, **named)
    tokenizer.chat_template = family.template
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    limit = {} if shape.model.startswith(("Bloom", "Mamba")) else {"max_position_embeddings": context}
    config = getattr(transformers, shape.config)(
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **limit,
        **shape.settings,
    )
    if weights:
        model = getattr(transformers, shape.model)(config)
        model.to(getattr(torch, shape.dtype)).save_pretrained(folder, max_shard_size=shape.shard)
    else:
        config.save_pretrained(folder)
    ends = [tokenizer.eos_token_id, *tokenizer.convert_tokens_to_ids(list(family.stops))]
    GenerationConfig(eos_token_id=ends if family.stops else ends[0]).save_pretrained(folder)
    return folder
