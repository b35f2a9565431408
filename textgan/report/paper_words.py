"""The words of the paper's tables in both languages, and the values of parameters that are words."""

from __future__ import annotations

WORDS = {
    "en": {
        "metric": "Metric", "value": "Value", "interval": "95 \\% interval", "floor": "Floor", "fact": "Fact",
        "right": "Right", "shuffled": "Shuffled", "base": "Base rate", "real": "Real pictures", "n": "$n$",
        "kid": "KID", "fd": "Fréchet distance", "recall": "Recall", "coverage": "Coverage",
        "precision": "Precision", "density": "Density", "deviation": "Deviation",
        "blurred": "Blurred", "collapsed": "Ten repeated", "other_kind": "Other kind",
        "inception": "Inception", "inception_unverified": "Inception, unverified", "dinov2": "DINOv2", "clip": "CLIP",
        "name": "Name", "measure": "Measure", "reference": "Reference", "all_right": "All main facts",
        "diversity": "Diversity within a prompt", "unevenness": "Unevenness of interpolation",
        "diversity_is": "0: one picture; 1: real images of the kind", "unevenness_is": "1: even; {steps}: one jump",
        "ends_apart": "Distance between the ends", "ends_apart_is": "1: two real images of the kind",
        "colour_right": "Other colour word: right", "kind_kept": "Other colour word: kind kept",
        "side_kept": "Other colour word: side kept", "background_kept": "Other colour word: background kept",
        "copies": "Copies", "searched": "Seen in", "ratio": "Distance ratio", "nearer": "Nearer than 99 \\% of test",
        "planted": "With planted copies", "features": "features (Lite2)", "pixels": "pixels", "luck": "By luck",
        "train_images": "Training images", "language": "Language", "en": "English", "es": "Spanish",
        "full": "FID, full",
        "stage": "Stage", "seconds": "Seconds", "how": "How", "ran": "ran", "restored": "restored (recorded)",
        "all_ran": "all that ran", "hardware": "Hardware",
        "parameter": "Parameter", "split": "Split", "images": "Images", "captions": "Captions",
        "distinct": "Distinct", "length": "Words a caption", "rejected": "rejected", "numbers": "Numbers",
        "generated": "Generated", "fingerprint": "Data fingerprint", "pairs": "Pairs", "rprecision": "R-precision",
        "yes": "yes", "no": "no", "chance": "Chance (95 \\%)",
        "kind": "Kind", "colour": "Colour", "background": "Background", "side": "Side", "framing": "Framing",
        "lite2": "Lite2", "patches8": "patches", "agreement": "Facts", "retrieval": "R-precision",
        "said_of": "Share of images", "borne_out": "Borne out", "pattern": "Coat", "body": "Body", "pose": "Pose",
        "facing": "Facing", "background_tone": "Background tone", "light": "Light",
        "latent": "Latent space", "generated_pairs": "Generated images", "shuffled_pairs": "Captions shuffled",
    },
    "es": {
        "metric": "Métrica", "value": "Valor", "interval": "Intervalo del 95 \\%", "floor": "Piso",
        "fact": "Atributo", "right": "Aciertos", "shuffled": "Permutados", "base": "Tasa base",
        "real": "Imágenes reales", "n": "$n$",
        "kid": "KID", "fd": "Distancia de Fréchet", "recall": "Exhaustividad", "coverage": "Cobertura",
        "precision": "Precisión", "density": "Densidad", "deviation": "Desviación",
        "blurred": "Desenfocadas", "collapsed": "Diez repetidas", "other_kind": "De otro tipo",
        "inception": "Inception", "inception_unverified": "Inception, sin verificar", "dinov2": "DINOv2",
        "clip": "CLIP",
        "name": "Nombre", "measure": "Medida", "reference": "Referencia", "all_right": "Todos los principales",
        "diversity": "Diversidad dentro de una descripción", "unevenness": "Irregularidad de la interpolación",
        "diversity_is": "0: una sola imagen; 1: imágenes reales del tipo",
        "unevenness_is": "1: uniforme; {steps}: un solo salto",
        "ends_apart": "Distancia entre los extremos", "ends_apart_is": "1: dos imágenes reales del tipo",
        "colour_right": "Otro color en el texto: color correcto", "kind_kept": "Otro color en el texto: mismo tipo",
        "side_kept": "Otro color en el texto: misma posición",
        "background_kept": "Otro color en el texto: mismo fondo",
        "copies": "Copias", "searched": "Buscadas en", "ratio": "Razón de distancias",
        "nearer": "Más cerca que el 99 \\% de las de prueba",
        "planted": "Con copias añadidas", "features": "características (Lite2)", "pixels": "píxeles",
        "luck": "Por azar", "train_images": "Imágenes de entrenamiento", "language": "Idioma", "en": "inglés",
        "es": "español", "full": "FID completa", "car": "automóvil", "cat": "gato",
        "stage": "Etapa", "seconds": "Segundos", "how": "Modo", "ran": "ejecutada",
        "restored": "restaurada (registrados)", "all_ran": "todas las ejecutadas", "hardware": "Equipo",
        "parameter": "Parámetro", "split": "Partición", "images": "Imágenes", "captions": "Descripciones",
        "distinct": "Distintas", "length": "Palabras por descripción", "rejected": "rechazadas", "numbers": "Métricas",
        "generated": "Generadas", "fingerprint": "Huella de los datos", "pairs": "Pares", "rprecision": "R-precisión",
        "yes": "sí", "no": "no", "chance": "Azar (95 \\%)",
        "kind": "Tipo", "colour": "Color", "background": "Fondo", "side": "Posición", "framing": "Encuadre",
        "train": "entrenamiento", "select": "selección", "test": "prueba",
        "lite2": "Lite2", "patches8": "parches", "agreement": "Atributos", "retrieval": "R-precisión",
        "said_of": "Parte de las imágenes", "borne_out": "Confirmados", "pattern": "Pelaje", "body": "Carrocería",
        "pose": "Postura", "facing": "Orientación", "background_tone": "Tono del fondo", "light": "Luz",
        "latent": "Espacio latente", "generated_pairs": "Imágenes generadas", "shuffled_pairs": "Permutadas",
    },
}  # fmt: skip

VALUES = {
    "es": {
        "projected": "proyectada", "scratch": "desde cero", "hinge": "bisagra", "non_saturating": "no saturante",
        "relativistic": "relativista", "words": "palabras", "minilm": "MiniLM", "pretrained": "preentrenadas",
        "random": "aleatorias", "none": "ninguna", "translate": "traslación",
        "translate_cutout": "traslación y borrado", "matched": "las propias", "shuffled": "permutadas",
        "stop": "detener", "skip": "omitir",
    },
}  # fmt: skip
"""Language -> value of a parameter -> how the table says it; names that are the same in both are not here."""


def word(key: str, language: str) -> str:
    """A word of the tables; an unknown one as it is, fit for LaTeX."""
    known = WORDS[language].get(key)
    return escape(key) if known is None else known


def escape(text: str) -> str:
    """Text with LaTeX's special characters escaped."""
    named = {"\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}"}
    return "".join(named.get(one, f"\\{one}" if one in "_%&#${}" else one) for one in text)
