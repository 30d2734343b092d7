(define-module (gnu services shepherd)
  #:use-module (guix gexp)
  #:use-module (records)
  #:export (shepherd-root-service-type shepherd-configuration-action
            shepherd-service shepherd-service-provision shepherd-service-requirement shepherd-service-start
            shepherd-service-stop shepherd-service-actions
            shepherd-action shepherd-action-name shepherd-action-procedure))

(define shepherd-root-service-type 'shepherd-root)

(define (symbols? value) (and (list? value) (and-map symbol? value)))
(define (any? value) #t)

(define service-fields
  (list (make-field 'documentation #f string? #f)
        (make-field 'provision #f symbols? #f)
        (make-field 'requirement #f symbols? (lambda () '()))
        (make-field 'one-shot? #f boolean? (lambda () #f))
        (make-field 'start #f any? #f)
        (make-field 'stop #f any? (lambda () #f))
        (make-field 'actions #f list? (lambda () '()))))
(define-record shepherd-service service-fields
  (documentation provision requirement one-shot? start stop actions))

(define action-fields
  (list (make-field 'name #f symbol? #f)
        (make-field 'documentation #f string? #f)
        (make-field 'procedure #f any? #f)))
(define-record shepherd-action action-fields (name documentation procedure))

(define (shepherd-configuration-action file)
  (shepherd-action
   (name 'configuration)
   (documentation "Display the name of the configuration file.")
   (procedure #~(lambda _ #$file))))
