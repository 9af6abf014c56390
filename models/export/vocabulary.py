"""Attribute words and the texts they stand for. Baked at export, so that no tokenizer runs in the element.

Text is one at a time; where age and sex are asked for together the joined word `age=..,sex=..` is looked up.
"""
AGES = {10: "child", 20: "young", 30: "thirty year old", 40: "forty year old", 50: "fifty year old", 60: "sixty year old", 70: "elderly", 80: "very old"}
SEXES = {"female": "woman", "male": "man"}
CHILD = {"female": "girl", "male": "boy"}
GROUPS = {"white": "european", "black": "african", "asian": "east asian", "indian": "indian"}


def prompts():
    words = {"": ""}
    for sex, noun in SEXES.items():
        words[f"sex={sex}"] = f"a photo of a {noun}"
    for age, adjective in AGES.items():
        article = "an" if adjective[0] in "aeio" else "a"
        words[f"age={age}"] = f"a photo of {article} {adjective if age > 10 else 'young'} {'person' if age > 10 else 'child'}"
        for sex, noun in SEXES.items():
            words[f"age={age},sex={sex}"] = f"a photo of a {CHILD[sex]}" if age == 10 else f"a photo of {article} {adjective} {noun}"
    for group, adjective in GROUPS.items():
        article = "an" if adjective[0] in "aeio" else "a"
        words[f"group={group}"] = f"a photo of {article} {adjective} person"
    return words
