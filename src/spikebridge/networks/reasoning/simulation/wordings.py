"""Everyday words and patterns of questions about rolling objects; `paraphrases.py` says what the fields mean."""

from collections.abc import Mapping
from typing import NamedTuple

WORDINGS: Mapping[str, tuple[str, ...]] = {
    "thing": ("thing", "object", "item", "one", "thing", "object"),
    "scene": ("scene", "video", "scene", "clip", "picture"),
    "here": ("", "", "", " in the {scene}", " in total", " here"),
    "hits": (
        "hits",
        "hits",
        "collides with",
        "bumps into",
        "crashes into",
        "touches",
        "runs into",
        "strikes",
        "knocks",
    ),
    "hit": ("hit", "hit", "collide with", "bump into", "crash into", "touch", "run into", "strike", "knock into"),
    "has_hit": ("hit", "hit", "collided with", "bumped into", "crashed into", "touched", "ran into", "struck"),
    "hitting": ("hitting", "colliding with", "bumping into", "crashing into", "touching", "running into", "striking"),
    "been_hit": ("hit", "hit", "touched", "struck", "bumped", "knocked"),
    "meet": ("collide", "collide", "touch", "crash", "meet", "bump into each other", "hit each other"),
    "met": ("collided", "collided", "touched", "crashed", "met", "bumped into each other", "hit each other"),
    "meeting": ("colliding", "touching", "crashing", "meeting"),
    "crash": ("collision", "collision", "crash", "bump", "contact", "hit", "impact"),
    "crashes": ("collisions", "collisions", "crashes", "bumps", "contacts", "hits", "impacts"),
    "do": ("do", "did", "does"),
    "does": ("does", "did"),
    "is": ("is", "was"),
    "are": ("are", "were"),
    "who": ("what", "which thing", "which object", "which item", "what thing", "what object", "which one", "who"),
    "that": ("that", "which", "that"),
    "any": ("any", "some", "a", "the"),
    "which": ("what", "which of these", "which of the following", "which event", "what", "which one", "which"),
    "would": ("would", "will", "would", "would still", "will still", "might", "could"),
    "may": ("will", "would", "might", "could", "is going to"),
}
ACTS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "filter_in": {
        "act": ("enter{in}", "enter{in}", "come in", "come into the {scene}", "appear{within}", "arrive", "show up"),
        "acts": ("enters{in}", "enters{in}", "comes in", "comes into the {scene}", "appears{within}", "arrives"),
        "acted": ("entered{in}", "entered{in}", "came in", "came into the {scene}", "appeared{within}", "arrived"),
        "acting": ("entering{in}", "entering{in}", "coming in", "coming into the {scene}", "appearing", "arriving"),
        "noun": ("entrance", "entry", "arrival", "appearance"),
        "in": ("", " the {scene}", " the {scene}"),
    },
    "filter_out": {
        "act": ("leave{in}", "leave{in}", "exit{in}", "go out", "go out of the {scene}", "disappear", "go away"),
        "acts": ("leaves{in}", "leaves{in}", "exits{in}", "goes out", "goes out of the {scene}", "disappears"),
        "acted": ("left{in}", "left{in}", "exited{in}", "went out", "went out of the {scene}", "disappeared"),
        "acting": ("leaving{in}", "leaving{in}", "exiting{in}", "going out", "going out of the {scene}"),
        "noun": ("exit", "exit", "departure", "disappearance"),
        "in": ("", " the {scene}", " the {scene}"),
    },
}
MOVES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "filter_moving": {
        "moving": ("moving", "moving", "in motion", "rolling", "sliding"),
        "one_moving": ("moving", "moving", "rolling", "sliding"),
        "move": ("move", "move", "roll", "slide", "are moving", "are in motion"),
        "moves": ("moves", "moves", "rolls", "is moving", "was moving", "moved", "is in motion"),
    },
    "filter_stationary": {
        "moving": (
            "stationary",
            "at rest",
            "standing still",
            "still",
            "not moving",
            "static",
            "resting",
            "lying still",
        ),
        "one_moving": ("stationary", "still", "static", "resting"),
        "move": ("stay still", "stand still", "do not move", "are at rest", "are stationary", "rest", "are not moving"),
        "moves": ("stays still", "stands still", "does not move", "is at rest", "is stationary", "is not moving"),
    },
}
START = (
    *("when the {scene} starts", "when the {scene} begins", "at the start", "at the beginning", "in the beginning"),
    *("at the start of the {scene}", "at the beginning of the {scene}", "as the {scene} starts", "initially"),
)
END = (
    *("when the {scene} ends", "at the end", "in the end", "at the end of the {scene}", "as the {scene} ends"),
    *("once the {scene} is over", "when the {scene} is over", "finally"),
)

SET = (
    ("[S] count", "how many {sets} are there{here}"),
    ("[S] count", "how many {sets} are {any_place}"),
    ("[S] count", "how many {sets} {do_see}"),
    ("[S] count", "how many {sets}"),
    ("[S] count", "what is the number of {sets}{here}"),
    ("[S] count", "number of {sets}{here}"),
    ("[S] count", "count the {sets}{here}"),
    ("[S] count", "can you count the {sets}"),
    ("[S] count", "how many {of_sets} are {predicate}"),
    ("[S] count", "how many {of_sets} are there that are {predicate}"),
    ("[S] exist", "is there {a_set}{here}"),
    ("[S] exist", "is there any {set}{here}"),
    ("[S] exist", "are there {sets}{here}"),
    ("[S] exist", "are there any {sets}{here}"),
    ("[S] exist", "{do_you} see {a_set}{here}"),
    ("[S] exist", "{do_you} see any {sets}{here}"),
    ("[S] exist", "does the {scene} {contain} {a_set}"),
    ("[S] exist", "is {a_set} {any_place}"),
    ("[P] exist", "is there {a_thing} {that} is {predicate}"),
    ("[P] exist", "is there {anything} {predicate}"),
    ("[S] exist", "are there {any} {of_sets} {predicate}"),
    ("[P] exist", "is {anything} {predicate}"),
    ("[S] exist", "are {any} {of_sets} {predicate}"),
    ("[S] exist", "{is} the {of_set} {predicate}"),
)
MOVING = (
    ("[S] {time} {motion} count", "how many {sets} {are} {moving}{when}"),
    ("[S] {time} {motion} count", "how many {sets} {move}{when}"),
    ("[S] {time} {motion} count", "how many {one_moving} {sets} are there{when}"),
    ("[S] {time} {motion} count", "how many {sets} {that} {move} are there{when}"),
    ("[S] {time} {motion} count", "what is the number of {one_moving} {sets}{when}"),
    ("[S] {time} {motion} exist", "{are} any {sets} {moving}{when}"),
    ("[S] {time} {motion} exist", "{are} there any {one_moving} {sets}{when}"),
    ("[S] {time} {motion} exist", "{are} there any {sets} {moving}{when}"),
    ("[S] {time} {motion} exist", "is there {a_set} {that} {moves}{when}"),
    ("[S] {time} {motion} exist", "is there {a_set} {moving}{when}"),
    ("[A] {time} {motion} exist", "{is} {A} {moving}{when}"),
    ("[A] {time} {motion} exist", "is {A} {moving}{when}"),
    ("[] {time} {motion} exist", "is {anything} {moving}{when}"),
    ("[] {time} {motion} exist", "{do} {anything} {move}{when}"),
    ("[A] {time} filter_moving exist", "{does} {A} move{when}"),
    ("[A] {time} filter_moving exist", "{does} {A} roll{when}"),
    ("[A] {time} filter_stationary exist", "{does} {A} {stay} still{when}"),
    ("[S] {time} filter_moving count", "how many {sets} {are} still {rolling}{when}"),
    ("[A] {time} filter_moving exist", "{is} {A} still {rolling}{when}"),
    ("[] {time} filter_moving exist", "is {anything} still {rolling}{when}"),
    ("[] {time} {motion} unique describe", "{who} {moves}{when}"),
    ("[] {time} {motion} unique describe", "{who} is {moving}{when}"),
    ("[] {time} {motion} unique describe", "{who} was {moving}{when}"),
    ("[S] {time} {motion} unique describe", "which {set} {moves}{when}"),
    ("[S] {time} {motion} unique describe", "which {set} is {moving}{when}"),
)
_MOVERS = (
    "the {one_moving} {set}{when}",
    "the {set} {that} {moves}{when}",
    "the {set} {that} is {moving}{when}",
    "the {one_moving} one of the {sets}{when}",
    "the {set} {moving}{when}",
)
ACTING = (
    ("{events} [S] {border} count", "how many {sets} {act}{order}"),
    ("{events} [S] {border} count", "how many {sets} {acted}{order}"),
    ("{events} [S] {border} count", "how many {sets} are there {that} {act}{order}"),
    ("{events} [S] {border} count", "what is the number of {sets} {that} {act}{order}"),
    ("{events} [S] {border} count", "how many {sets} {are} {acting}{order}"),
    ("{events} [S] {border} exist", "{do} any {set} {act}{order}"),
    ("{events} [S] {border} exist", "{do} any {sets} {act}{order}"),
    ("{events} [S] {border} exist", "{does} {a_set} {act}{order}"),
    ("{events} [S] {border} exist", "is there {a_set} {that} {acts}{order}"),
    ("{events} [S] {border} exist", "are there any {sets} {that} {act}{order}"),
    ("{events} [] {border} exist", "{do} {anything} {act}{order}"),
    ("{events} <A> {border} exist", "{does} {A} {act}{order}"),
)
MEETING = (
    ("{events} [] filter_collision count", "how many {crashes} {are} there{order}"),
    ("{events} [] filter_collision count", "how many {crashes} {happen}{order}"),
    ("{events} [] filter_collision count", "how many {crashes} do you see{order}"),
    ("{events} [] filter_collision count", "what is the number of {crashes}{order}"),
    ("{events} [] filter_collision count", "how {often} {do} {objects} {meet}{order}"),
    ("{events} [] filter_collision exist", "{is} there {a_crash}{order}"),
    ("{events} [] filter_collision exist", "{are} there any {crashes}{order}"),
    ("{events} [] filter_collision exist", "{do} any {crashes} {happen_plain}{order}"),
    ("{events} [] filter_collision exist", "{do} {any_objects} {meet}{order}"),
    ("{events} [] filter_collision exist", "{do} {anything} {hit} {anything}{order}"),
    ("{events} <A> filter_collision count", "how {often} {is} {A} {been_hit}{order}"),
    ("{events} <A> filter_collision count", "how {often} {does} {A} {collide}{order}"),
    ("{events} <A> filter_collision count", "how many {things} {hit} {A}{order}"),
    ("{events} <A> filter_collision count", "how many {things} {has_hit} {A}{order}"),
    ("{events} <A> filter_collision count", "how many {things} {does} {A} {hit}{order}"),
    ("{events} <A> filter_collision count", "how many {crashes} {does} {A} have{order}"),
    ("{events} <A> filter_collision count", "how many {things} {are} {been_hit} by {A}{order}"),
    ("{events} <A> filter_collision exist", "{does} {A} {hit} {anything}{order}"),
    ("{events} <A> filter_collision exist", "{does} {anything} {hit} {A}{order}"),
    ("{events} <A> filter_collision exist", "{is} {A} {been_hit} by {anything}{order}"),
    ("{events} <A> filter_collision exist", "{is} {A} {been_hit}{order}"),
    ("{events} <A> filter_collision exist", "{does} {A} {collide}{order}"),
    ("{events} <A> filter_collision <B> filter_collision exist", "{does} {A} {hit} {B}{order}"),
    ("{events} <A> filter_collision <B> filter_collision exist", "{do} {A} and {B} {meet}{order}"),
    ("{events} <A> filter_collision <B> filter_collision exist", "{does} {A} {meet} with {B}{order}"),
    ("{events} <A> filter_collision <B> filter_collision exist", "{is} {A} {been_hit} by {B}{order}"),
    ("{events} <A> filter_collision <B> filter_collision exist", "{is} there {a_crash} between {A} and {B}{order}"),
    ("events <A> filter_collision <B> filter_collision exist", "{do} the two {meet}, {A} and {B}"),
)
_PARTNER = "events <A> filter_collision {chosen} <A> query_collision_partner"
_PARTNERS = (
    "the {rank}{thing} {that} {hits} {A}",
    "the {rank}{thing} {that} {has_hit} {A}",
    "the {rank}{thing} to {hit} {A}",
    "the {rank}{thing} {hitting} {A}",
    "the {rank}{thing} {been_hit} by {A}",
    "the {rank}{thing} {that} {is} {been_hit} by {A}",
    "the {rank}{thing} {that} {A} {hits}",
    "the {rank}{thing} {that} {A} {has_hit}",
    "the {rank}{thing} {A} {hits}",
    "the {thing} {that} {hits} {A}{ranked}",
    "the {thing} {that} {has_hit} {A}{ranked}",
    "the {thing} {that} {A} {hits}{ranked}",
)
_PARTNER_ASKS = (
    "{who} {hits} {A}{ranked}",
    "{who} {has_hit} {A}{ranked}",
    "{who} {does} {A} {hit}{ranked}",
    "{who} {is} {A} {been_hit} by{ranked}",
    "by {who} {is} {A} {been_hit}{ranked}",
    "with {who} {does} {A} collide{ranked}",
    "{who} {is} the {rank_only}to {hit} {A}",
    "{who} {is} {been_hit} by {A}{ranked}",
)
_BORDER = "events [S] {border} {chosen} query_object"
_BORDERS = (
    "the {rank}{set} to {act}",
    "the {rank}{set} {that} {acts}",
    "the {rank}{set} {that} {acted}",
    "the {set} {that} {acts}{ranked}",
    "the {set} {that} {acted}{ranked}",
    "the {set} {acting}{ranked}",
    "the {rank}{acting} {set}",
)
_BORDER_ASKS = (
    "{who} {acts}{ranked}",
    "{who} {acted}{ranked}",
    "{who} {is} the {rank_only}to {act}",
    "{who} {does} {act}{ranked}",
    "{who} {is} {acting}{ranked}",
    "which {set} {acts}{ranked}",
    "which {set} {acted}{ranked}",
)
MEETINGS = (
    "the {crash} between {A} and {B}",
    "the {crash} of {A} with {B}",
    "the {crash} of {A} and {B}",
    "{A}'s {crash} with {B}",
    "{A} {hitting} {B}",
    "{A} and {B} {meeting}",
    "{A}'s {hitting} {B}",
)
MEETINGS_CLAUSE = ("{A} {has_hit} {B}", "{A} {hits} {B}", "{A} and {B} {met}", "{A} and {B} {meet}")
MEETINGS_PLAIN = ("{A} {hit} {B}", "{A} and {B} {meet}", "{A} {meet} with {B}")
PASSINGS = ("{A}'s {noun}", "the {noun} of {A}", "{A} {acting}", "{A}'s {acting}")
PASSINGS_CLAUSE = ("{A} {acted}", "{A} {acts}")
PASSINGS_PLAIN = ("{A} {act}",)
WHY_NOUN = (
    "what caused {event}",
    "what causes {event}",
    "what {is} the cause of {event}",
    "what {is} the reason for {event}",
    "what led to {event}",
    "what leads to {event}",
    "what contributed to {event}",
    "what contributes to {event}",
    "{which} caused {event}",
    "{which} {is} responsible for {event}",
    "{which} {is} to blame for {event}",
    "who {is} to blame for {event}",
    "who {is} responsible for {event}",
    "{which} {is} a cause of {event}",
    "{which} led to {event}",
    "{which} has to do with {event}",
    "what {is} behind {event}",
    "because of what did {event} happen",
    "why did {event} happen",
    "how did {event} come about",
)
WHY_CLAUSE = (
    "what {is} the reason that {event}",
    "what {is} the reason why {event}",
    "why is it that {event}",
    "{which} {is} the reason that {event}",
    "because of what {event}",
)
WHY_PLAIN = (
    "why {did} {event}",
    "why {did} {event}",
    "what made {event}",
    "what makes {event}",
    "{which} made {event}",
    "why {did} {event}",
)
WHY_TO = ("what caused {event}", "{which} caused {event}", "what led {event}")
NOT_WHY = (
    "what did not cause {event}",
    "{which} did not cause {event}",
    "{which} does not cause {event}",
    "{which} {is} not a cause of {event}",
    "{which} {is} not responsible for {event}",
    "what {is} not responsible for {event}",
    "what {is} not the reason for {event}",
    "{which} did not lead to {event}",
    "{which} did not contribute to {event}",
    "{which} had nothing to do with {event}",
    "what has nothing to do with {event}",
    "{which} {is} not to blame for {event}",
)
NEXT = (
    *("{which} {may} happen next", "what happens next", "what comes next", "what {is} next", "what happens then"),
    *("what happens after the {scene}", "what happens after the {scene} ends", "what {may} happen after the {scene}"),
    *("what is going to happen", "{which} is going to happen next", "{which} {may} happen", "what happens afterwards"),
    *("what would you expect to happen", "what would you expect to happen next", "what do you expect next"),
    *("which {crash} {may} happen next", "which {crash} {may} happen in the future", "{which} happens in the future"),
    *("and then, what happens", "what {may} happen later", "what comes after this", "what happens later"),
    *("{which} {may} happen once the {scene} is over", "predict what happens next", "what {may} happen then"),
    *("{which} {may} come next", "which {crash} comes next", "what happens when the {scene} goes on"),
)
SUPPOSE = (
    *("if we took away {A}", "if we take away {A}", "if {A} was removed", "if {A} were removed", "if {A} is removed"),
    *("if you remove {A}", "if I remove {A}", "if we removed {A}", "if someone removes {A}", "if we remove {A}"),
    *("without {A}", "if {A} was not there", "if {A} were not there", "if {A} is not there", "if {A} did not exist"),
    *("if there was no {a}", "if there were no {a}", "if there is no {a}", "had {A} not been there"),
    *("if {A} had not been there", "if {A} was taken away", "if {A} is taken away", "if {A} was missing"),
    *("suppose {A} is removed", "suppose we remove {A}", "suppose there is no {a}", "suppose {A} was not there"),
    *("imagine {A} is gone", "imagine {A} was not there", "imagine there is no {a}", "imagine we remove {A}"),
    *("if we got rid of {A}", "if you take away {A}", "if {A} had not existed", "if the video had no {a}"),
    *("if we remove {A} from the {scene}", "if {A} is not in the {scene}", "if {A} was not in the {scene}"),
    *("if we delete {A}", "if {A} was gone", "if {A} is gone", "if {A} disappears", "if {A} were absent"),
    *("when {A} is removed", "when we take away {A}", "after removing {A}", "with {A} removed", "with {A} gone"),
    *("in the absence of {A}", "if we take {A} away", "if we took {A} away", "assuming {A} is not there"),
)
THEN = ("{which} {would} happen", "what happens", "{which} happens", "what happens then", "{which} {would} occur")
NOT_THEN = (
    *("{which} {would} not happen", "{which} does not happen", "what does not happen", "{which} {would} not occur"),
    *("{which} {would} no longer happen", "{which} {would} not happen anymore"),
)
WHAT_IF = ("what {supposed}", "what happens {supposed}", "what {would} happen {supposed}", "so what {supposed}")
PRESENCE = (
    *("{A}", "the presence of {A}", "{A}'s presence", "{A} being there", "{A} being present", "the existence of {A}"),
    *("that {A} is there", "{A} is there", "because of {A}", "{A} existing"),
)
POSSIBLE = (
    *("{A} {hits} {B}", "{A} {hits} {B}", "{A} and {B} {meet}", "{A} and {B} {meet}", "{A} {may} {hit} {B}"),
    *("{A} and {B} {may} {meet}", "the {crash} between {A} and {B}", "a {crash} between {A} and {B}"),
    *("{A} is {been_hit} by {B}", "{A} gets {been_hit} by {B}", "{A}'s {crash} with {B}", "{A} {hitting} {B}"),
    *("the {crash} of {A} with {B}", "{A} {has_hit} {B}", "the two, {A} and {B}, {meet}", "{A} {collides} with {B}"),
)
LOCAL: Mapping[str, tuple[str, ...]] = {
    "any_place": ("in the {scene}", "in this {scene}", "visible", "present"),
    "do_see": ("do you see", "can you see", "can I see", "does the {scene} have", "did you see"),
    "do_you": ("do you", "can you", "did you", "do we"),
    "contain": ("contain", "have", "show", "include"),
    "anything": ("anything", "something", "any thing", "any object"),
    "objects": ("objects", "things", "two objects", "two things", "items"),
    "any_objects": ("any objects", "any things", "any two objects", "objects", "things", "some objects", "two objects"),
    "things": ("things", "objects", "items", "other objects", "others"),
    "a_crash": ("a {crash}", "any {crash}", "a {crash}"),
    "happen": ("happen", "happened", "occur", "take place", "were there", "occurred"),
    "happen_plain": ("happen", "occur", "take place"),
    "often": ("many times", "often"),
    "collide": ("collide", "crash", "get hit", "collide with something"),
    "collides": ("collides", "makes contact"),
    "stay": ("stay", "stand", "remain"),
    "rolling": ("moving", "moving", "in motion", "rolling", "sliding"),
    "did": ("did", "does", "do"),
    "within": ("", " in the {scene}"),
    "a_thing": ("a thing", "an object", "something", "anything"),
}


class _ObjectWording(NamedTuple):
    """An object as a noun phrase: its program, wordings, and questions for the whole object."""

    program: str
    nouns: tuple[str, ...]
    asks: tuple[str, ...]


ONE = (
    _ObjectWording("<A>", ("{A}",), ("what is {A}", "what exactly is {A}")),
    _ObjectWording("[S] {time} {motion} unique", _MOVERS, ()),
    _ObjectWording(_PARTNER, _PARTNERS, _PARTNER_ASKS),
    _ObjectWording(_PARTNER, _PARTNERS, _PARTNER_ASKS),
    _ObjectWording(_BORDER, _BORDERS, ()),
    _ObjectWording(_BORDER.replace("[S]", "[]"), (), _BORDER_ASKS[:5]),
    _ObjectWording(_BORDER, (), _BORDER_ASKS[5:]),
)
ATTRIBUTE_ASKS = (
    *("what {kind} is {one}", "what is the {kind} of {one}", "what's the {kind} of {one}", "which {kind} is {one}"),
    *("which {kind} does {one} have", "what {kind} does {one} have", "what {kind} was {one}", "{one} has what {kind}"),
    *("tell me the {kind} of {one}", "what was the {kind} of {one}", "{one} is what {kind}", "which {kind} has {one}"),
    *("what kind of {kind} is {one}", "name the {kind} of {one}", "what is {one}'s {kind}"),
)
MATERIAL_ASKS = (
    *("what is {one} made of", "what's {one} made of", "what is {one} made out of", "of what is {one} made"),
    *("which material is {one} made of", "what material is {one} made of", "is {one} metal or rubber"),
    *("is {one} made of metal or rubber", "is {one} made of rubber or metal", "what was {one} made of"),
)
SHAPE_ASKS = ("what shape does {one} have", "what form does {one} have", "what is the form of {one}")
OBJECT_ASKS = (
    "what is {one}",
    "which object is {one}",
    "which thing is {one}",
    "what was {one}",
    "which one is {one}",
)
